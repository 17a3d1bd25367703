#include "manager/registry/url.h"

#include <gtest/gtest.h>

namespace strata::manager {
namespace {

TEST(Url, TakesHttpAndHttpsApart) {
  const auto plain = ParseOrigin("http://LocalHost:5000/v2/?x=1");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->scheme, "http");
  EXPECT_EQ(plain->host, "localhost");
  EXPECT_EQ(plain->port, 5000);
  EXPECT_EQ(plain->Authority(), "localhost:5000");
  const auto secure = ParseOrigin("https://[::1]/");
  ASSERT_TRUE(secure);
  EXPECT_EQ(secure->host, "::1");
  EXPECT_EQ(secure->port, 443);
  EXPECT_EQ(secure->Authority(), "[::1]");
}

TEST(Url, RefusesWhatARegistryHasNoBusinessWith) {
  for (const char* url : {"file:///etc/passwd", "ftp://host/x", "gopher://host", "", "host/path",
                          "https://", "https://user:secret@host/", "https://user@host/",
                          "https://host:99999/", "javascript:alert(1)"}) {
    EXPECT_FALSE(ParseOrigin(url)) << url;
  }
}

TEST(Url, ResolvesReferencesAgainstTheAnsweringPage) {
  const std::string base = "https://r.example:444/v2/x/blobs/uploads/?a=b";
  EXPECT_EQ(ResolveUrl(base, "/v2/y?s=1").value_or("-"), "https://r.example:444/v2/y?s=1");
  EXPECT_EQ(ResolveUrl(base, "https://cdn.example/z").value_or("-"), "https://cdn.example/z");
  EXPECT_FALSE(ResolveUrl(base, "file:///etc/passwd"));
}

TEST(Url, AddsToTheQueryWithoutTouchingIt) {
  EXPECT_EQ(AddQuery("http://h/p", "digest", "sha256:ab").value_or("-"),
            "http://h/p?digest=sha256%3Aab");
  EXPECT_EQ(AddQuery("http://h/p?_state=a%2Fb%3D", "d", "x y").value_or("-"),
            "http://h/p?_state=a%2Fb%3D&d=x%20y");
}

TEST(Url, KnowsHostsThatStayOnTheMachine) {
  for (const char* host : {"127.0.0.1", "127.9.8.7", "::1", "localhost"}) {
    EXPECT_TRUE(IsLoopbackHost(host)) << host;
  }
  for (const char* host :
       {"128.0.0.1", "::2", "localhost.example", "127.0.0.1.example", "0.0.0.0", "127.0.0", ""}) {
    EXPECT_FALSE(IsLoopbackHost(host)) << host;
  }
}

TEST(Url, KnowsLinkLocalHosts) {
  for (const char* host : {"169.254.169.254", "fe80::1", "fe80::1%25eth0", "::ffff:169.254.1.1"}) {
    EXPECT_TRUE(IsLinkLocalHost(host)) << host;
  }
  for (const char* host : {"169.253.0.1", "fec0::1", "metadata.example"}) {
    EXPECT_FALSE(IsLinkLocalHost(host)) << host;
  }
}

}  // namespace
}  // namespace strata::manager
