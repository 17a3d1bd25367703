#include "manager/registry/credentials.h"

#include <gtest/gtest.h>

#include "base/base64.h"

namespace strata::manager {
namespace {

TEST(Credentials, ReadsTheApiHeader) {
  const auto plain = ParseRegistryAuthHeader(
      EncodeBase64Url(R"({"username":"ann","password":"p?>~","serveraddress":"r.example"})"));
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->username, "ann");
  EXPECT_EQ(plain->password, "p?>~");
  const auto packed =
      ParseRegistryAuthHeader(EncodeBase64Url(R"({"auth":")" + EncodeBase64("bob:a:b") + R"("})"));
  ASSERT_TRUE(packed);
  EXPECT_EQ(packed->username, "bob");
  EXPECT_EQ(packed->password, "a:b");
  const auto token = ParseRegistryAuthHeader(EncodeBase64Url(R"({"identitytoken":"idt"})"));
  ASSERT_TRUE(token);
  EXPECT_EQ(token->identity_token, "idt");
}

TEST(Credentials, AnonymousHeaders) {
  for (const std::string& header :
       {std::string(), EncodeBase64Url("{}"), EncodeBase64Url("null")}) {
    const auto parsed = ParseRegistryAuthHeader(header);
    ASSERT_TRUE(parsed) << header;
    EXPECT_TRUE(parsed->empty());
  }
}

TEST(Credentials, RefusesGarbageHeaders) {
  for (const std::string& header :
       {std::string("!!!"), EncodeBase64Url("[1]"), EncodeBase64Url("x"),
        EncodeBase64Url(R"({"auth":"bm9jb2xvbg=="})")}) {
    const auto parsed = ParseRegistryAuthHeader(header);
    ASSERT_FALSE(parsed) << header;
    EXPECT_EQ(parsed.error().code(), EINVAL);
    EXPECT_STREQ(parsed.error().op(), "invalid X-Registry-Auth header");
  }
}

TEST(Credentials, FindsTheRegistryInADockerConfig) {
  const std::string config = R"({"auths":{
    "https://index.docker.io/v1/":{"auth":")" +
                             EncodeBase64("hub:secret") + R"("},
    "localhost:5000":{"username":"l","password":"p"},
    "https://r.example/v2/":{"auth":")" +
                             EncodeBase64("<token>:refresh") + R"("},
    "empty.example":{}}})";
  const auto hub = CredentialsFromDockerConfig(config, "docker.io");
  ASSERT_TRUE(hub);
  EXPECT_EQ(hub->username, "hub");
  EXPECT_EQ(hub->password, "secret");
  EXPECT_EQ(CredentialsFromDockerConfig(config, "localhost:5000")->username, "l");
  const auto token = CredentialsFromDockerConfig(config, "r.example");
  EXPECT_EQ(token->identity_token, "refresh");
  EXPECT_EQ(token->username, "");
  EXPECT_TRUE(CredentialsFromDockerConfig(config, "empty.example")->empty());
  EXPECT_TRUE(CredentialsFromDockerConfig(config, "localhost:5001")->empty());
  EXPECT_TRUE(CredentialsFromDockerConfig(config, "docker.io.example")->empty());
}

TEST(Credentials, OddDockerConfigs) {
  EXPECT_FALSE(CredentialsFromDockerConfig("", "r.example"));
  EXPECT_FALSE(CredentialsFromDockerConfig("[]", "r.example"));
  EXPECT_TRUE(CredentialsFromDockerConfig("{}", "r.example")->empty());
  EXPECT_TRUE(CredentialsFromDockerConfig(R"({"auths":[]})", "r.example")->empty());
  EXPECT_TRUE(CredentialsFromDockerConfig(R"({"auths":{"r.example":7}})", "r.example")->empty());
  const auto missing = LoadDockerCredentials("/nonexistent/config.json", "r.example");
  ASSERT_TRUE(missing);
  EXPECT_TRUE(missing->empty());
}

}  // namespace
}  // namespace strata::manager
