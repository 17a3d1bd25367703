#include "manager/registry/auth_challenge.h"

#include <gtest/gtest.h>

namespace strata::manager {
namespace {

TEST(AuthChallenge, ReadsAQuotedBearerChallenge) {
  const auto challenges =
      ParseChallenges({R"(Bearer realm="https://auth.example/token",service="registry.example",)"
                       R"(scope="repository:a/b:pull,push")"});
  ASSERT_EQ(challenges.size(), 1U);
  EXPECT_EQ(challenges[0].scheme, "bearer");
  EXPECT_EQ(challenges[0].Get("realm"), "https://auth.example/token");
  EXPECT_EQ(challenges[0].Get("service"), "registry.example");
  EXPECT_EQ(challenges[0].Get("scope"), "repository:a/b:pull,push");
  EXPECT_EQ(challenges[0].Get("error"), "");
}

TEST(AuthChallenge, ReadsSeveralInOneHeaderAndInSeveral) {
  const auto challenges =
      ParseChallenges({R"(Negotiate, BASIC Realm="a \"b\", c" , charset="UTF-8", Digest qop=auth)",
                       "Bearer realm=x"});
  ASSERT_EQ(challenges.size(), 4U);
  EXPECT_EQ(challenges[0].scheme, "negotiate");
  EXPECT_TRUE(challenges[0].parameters.empty());
  EXPECT_EQ(challenges[1].scheme, "basic");
  EXPECT_EQ(challenges[1].Get("realm"), "a \"b\", c");
  EXPECT_EQ(challenges[1].Get("charset"), "UTF-8");
  EXPECT_EQ(challenges[2].Get("qop"), "auth");
  EXPECT_EQ(challenges[3].Get("realm"), "x");
}

TEST(AuthChallenge, TakesUnquotedUrlsAsRegistriesSendThem) {
  const auto challenges = ParseChallenges({"Bearer realm=https://a.example/t?x=1,service=s"});
  ASSERT_EQ(challenges.size(), 1U);
  EXPECT_EQ(challenges[0].Get("realm"), "https://a.example/t?x=1");
  EXPECT_EQ(challenges[0].Get("service"), "s");
}

TEST(AuthChallenge, GarbageEndsAHeaderQuietly) {
  EXPECT_TRUE(ParseChallenges({"", " , ,", "\x01\x02", "=\"x\""}).empty());
  EXPECT_TRUE(ParseChallenges({"realm=\"orphan\""}).empty());
  const auto open_quote = ParseChallenges({"Bearer realm=\"never closed"});
  ASSERT_EQ(open_quote.size(), 1U);
  EXPECT_NE(open_quote[0].Get("realm"), "never closed\"");
}

}  // namespace
}  // namespace strata::manager
