#include "manager/container/security_options.h"

#include <gtest/gtest.h>

namespace strata::manager {
namespace {

TEST(SecurityOptions, TheLastOneWins) {
  const auto parsed = ParseSecurityOptions({"no-new-privileges", "no-new-privileges=false"});
  ASSERT_TRUE(parsed);
  EXPECT_FALSE(parsed->no_new_privileges);
  EXPECT_TRUE(ParseSecurityOptions({"no-new-privileges:true"})->no_new_privileges);
  EXPECT_TRUE(ParseSecurityOptions({"seccomp:unconfined"})->seccomp_unconfined);
}

TEST(SecurityOptions, NothingIsIgnored) {
  for (const char* option : {"", "x", "no-new-privileges:", "seccomp", "seccomp={}", "label"}) {
    const auto parsed = ParseSecurityOptions({option});
    ASSERT_FALSE(parsed) << option;
    EXPECT_EQ(parsed.error().code(), EINVAL);
    EXPECT_TRUE(parsed.error().detail().starts_with("invalid --security-opt 1: ")) << option;
  }
}

}  // namespace
}  // namespace strata::manager
