#include "manager/container/host_names.h"

#include <gtest/gtest.h>

#include <string>

namespace strata::manager {
namespace {

TEST(HostNames, FollowRfc1123) {
  for (const char* name : {"a", "7", "a-b", "a.b-c.d0"}) EXPECT_TRUE(ValidHostName(name)) << name;
  EXPECT_TRUE(ValidHostName(std::string(63, 'h')));
  EXPECT_FALSE(ValidHostName(std::string(64, 'h')));
  for (const char* name :
       {"", ".", "a.", ".a", "a..b", "-a", "a-", "a_b", "a b", "a\n", "\xc3\xa4"}) {
    EXPECT_FALSE(ValidHostName(name)) << name;
  }
}

TEST(HostNames, ExtraHostsHaveAnAddress) {
  EXPECT_EQ(ParseExtraHost("a:1.2.3.4")->address, "1.2.3.4");
  EXPECT_EQ(ParseExtraHost("a=::1")->address, "::1");
  EXPECT_EQ(ParseExtraHost("a:[::1]")->address, "::1");
  for (const char* text : {"a", "a:", ":1.2.3.4", "a:b", "a:1.2.3.4\n", "a:[::1", "a b:1.2.3.4"}) {
    EXPECT_FALSE(ParseExtraHost(text)) << text;
  }
  EXPECT_EQ(ParseExtraHost("a:host-gateway").error().code(), ENOTSUP);
}

TEST(HostNames, DnsSettingsAreWords) {
  HostConfig host;
  host.dns = {"10.0.0.1", "::1"};
  host.dns_search = {"example.com"};
  EXPECT_TRUE(CheckNameSettings(host));
  host.dns_search = {"a\nnameserver 1.2.3.4"};
  EXPECT_FALSE(CheckNameSettings(host));
  host.dns_search = {};
  host.dns_options = {""};
  EXPECT_FALSE(CheckNameSettings(host));
}

}  // namespace
}  // namespace strata::manager
