#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "base/base64.h"
#include "tests/unit/registry/registry_fixture.h"

namespace strata::manager {
namespace {

using support::ScriptedHttpServer;
using support::ScriptedReply;
using support::ScriptedRequest;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kType = "application/vnd.oci.image.manifest.v1+json";

ScriptedReply Denied(const std::string& challenge) {
  return {.status = 401,
          .headers = {{"WWW-Authenticate", challenge}},
          .body = R"({"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]})"};
}

ScriptedReply Good() { return {.headers = {{"Content-Type", kType}}, .body = "{}"}; }

// A registry that lets in whoever has the token `wanted`, and says where to get one.
ScriptedHttpServer::Handler TokenRegistry(const std::string& realm, const std::string& wanted) {
  return [=](const ScriptedRequest& request) {
    if (request.Header("Authorization") == "Bearer " + wanted) return Good();
    return Denied("Bearer realm=\"" + realm + "\",service=\"reg,istry\",scope=\"ignored\"");
  };
}

TEST(RegistryAuth, BasicCredentialsAnswerABasicChallenge) {
  ScriptedHttpServer server([](const ScriptedRequest& request) {
    return request.Header("Authorization") == "Basic " + EncodeBase64("ann:pa:ss")
               ? Good()
               : Denied("Basic realm=\"x\"");
  });
  const auto client = OpenClient(server, {.username = "ann", .password = "pa:ss"});
  EXPECT_TRUE(client->GetManifest("x", "1"));
  EXPECT_TRUE(client->GetManifest("x", "2"));
  EXPECT_EQ(server.Count("GET", "/manifests/1"), 2U);  // asked, then told
  EXPECT_EQ(server.Count("GET", "/manifests/2"), 1U);  // known by then
}

TEST(RegistryAuth, RefusedOrMissingCredentials) {
  ScriptedHttpServer server([](const ScriptedRequest&) { return Denied("Basic realm=\"x\""); });
  const auto wrong =
      OpenClient(server, {.username = "ann", .password = "wrong"})->GetManifest("lib/x", "1");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code(), EACCES);
  EXPECT_THAT(wrong.error().ToString(), HasSubstr("UNAUTHORIZED"));
  EXPECT_THAT(wrong.error().ToString(), HasSubstr("lib/x"));
  EXPECT_THAT(wrong.error().ToString(), Not(HasSubstr("wrong")));
  const auto none = OpenClient(server)->GetManifest("x", "1");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code(), EACCES);
}

TEST(RegistryAuth, AnonymousTokensAreFetchedOncePerScope) {
  ScriptedHttpServer tokens([](const ScriptedRequest&) {
    return ScriptedReply{.body = R"({"token":"t1","expires_in":300})"};
  });
  ScriptedHttpServer server(TokenRegistry(tokens.Url("/token?from=here"), "t1"));
  const auto client = OpenClient(server);
  EXPECT_TRUE(client->GetManifest("lib/x", "1"));
  EXPECT_TRUE(client->GetManifest("lib/x", "2"));
  ASSERT_EQ(tokens.Requests().size(), 1U);
  EXPECT_EQ(tokens.Requests()[0].target,
            "/token?from=here&service=reg%2Cistry&scope=repository%3Alib%2Fx%3Apull");
  EXPECT_EQ(tokens.Requests()[0].Header("Authorization"), "");
  EXPECT_TRUE(client->GetManifest("lib/y", "1"));
  EXPECT_EQ(tokens.Requests().size(), 2U);
}

TEST(RegistryAuth, UserAndPasswordGoToTheTokenServerOnly) {
  ScriptedHttpServer tokens([](const ScriptedRequest& request) {
    if (request.Header("Authorization") != "Basic " + EncodeBase64("ann:pw")) {
      return ScriptedReply{.status = 401,
                           .body = R"({"details":"incorrect username or password"})"};
    }
    return ScriptedReply{.body = R"({"access_token":"t2"})"};
  });
  ScriptedHttpServer server(TokenRegistry(tokens.Url("/token"), "t2"));
  EXPECT_TRUE(OpenClient(server, {.username = "ann", .password = "pw"})->GetManifest("x", "1"));
  EXPECT_THAT(tokens.Requests()[0].target, HasSubstr("account=ann"));
  for (const auto& request : server.Requests()) {
    EXPECT_THAT(request.Header("Authorization"), Not(HasSubstr("Basic")));
  }
  const auto wrong =
      OpenClient(server, {.username = "ann", .password = "bad"})->GetManifest("x", "1");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code(), EACCES);
  EXPECT_THAT(wrong.error().ToString(), HasSubstr("incorrect username or password"));
}

TEST(RegistryAuth, IdentityTokensAreExchangedByPost) {
  ScriptedHttpServer tokens([](const ScriptedRequest& request) {
    EXPECT_EQ(request.method, "POST");
    EXPECT_EQ(request.Header("Content-Type"), "application/x-www-form-urlencoded");
    EXPECT_THAT(request.body, HasSubstr("grant_type=refresh_token"));
    EXPECT_THAT(request.body, HasSubstr("refresh_token=id%2F1"));
    EXPECT_THAT(request.body, HasSubstr("scope=repository%3Ax%3Apull"));
    return ScriptedReply{.body = R"({"access_token":"t3","refresh_token":"id/1"})"};
  });
  ScriptedHttpServer server(TokenRegistry(tokens.Url("/token"), "t3"));
  EXPECT_TRUE(OpenClient(server, {.identity_token = "id/1"})->GetManifest("x", "1"));
}

TEST(RegistryAuth, RegistryTokensAreSentAsTheyAre) {
  ScriptedHttpServer server(TokenRegistry("http://127.0.0.1:1/never", "own"));
  EXPECT_TRUE(OpenClient(server, {.registry_token = "own"})->GetManifest("x", "1"));
  EXPECT_EQ(server.Count("GET", "/manifests/"), 1U);
}

TEST(RegistryAuth, ExpiredTokensAreReplaced) {
  std::atomic<int> issued = 0;
  ScriptedHttpServer tokens([&](const ScriptedRequest&) {
    return ScriptedReply{.body =
                             R"({"token":"t)" + std::to_string(++issued) + R"(","expires_in":0})"};
  });
  ScriptedHttpServer server([&](const ScriptedRequest& request) {
    if (request.Header("Authorization") == "Bearer t" + std::to_string(issued)) return Good();
    return Denied("Bearer realm=\"" + tokens.Url("/t") + "\"");
  });
  const auto client = OpenClient(server);
  EXPECT_TRUE(client->GetManifest("x", "1"));
  EXPECT_TRUE(client->GetManifest("x", "2"));
  EXPECT_EQ(issued, 2);
  EXPECT_EQ(server.Count("GET", "/manifests/2"), 1U);
}

TEST(RegistryAuth, ATokenThatIsRefusedIsFetchedAnewOnce) {
  std::atomic<int> issued = 0;
  ScriptedHttpServer tokens([&](const ScriptedRequest&) {
    ++issued;
    return ScriptedReply{.body = R"({"token":"never good","expires_in":300})"};
  });
  ScriptedHttpServer bad(TokenRegistry(tokens.Url("/t"), "other"));
  const auto spaces = OpenClient(bad)->GetManifest("x", "1");
  ASSERT_FALSE(spaces);
  EXPECT_EQ(spaces.error().code(), EBADMSG);  // a blank is no part of a token
  EXPECT_EQ(issued, 1);

  ScriptedHttpServer plain([&](const ScriptedRequest&) {
    ++issued;
    return ScriptedReply{.body = R"({"token":"nope","expires_in":300})"};
  });
  ScriptedHttpServer server(TokenRegistry(plain.Url("/t"), "other"));
  issued = 0;
  const auto refused = OpenClient(server)->GetManifest("x", "1");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), EACCES);
  EXPECT_EQ(issued, 1);
}

TEST(RegistryAuth, TokenServersThatMustNotBeTrusted) {
  for (const char* realm : {"http://auth.example/token", "http://169.254.169.254/latest",
                            "https://169.254.169.254/latest", "https://[fe80::1]/t",
                            "file:///etc/passwd", "", "https://u:p@auth.example/"}) {
    ScriptedHttpServer server(TokenRegistry(realm, "x"));
    const auto result =
        OpenClient(server, {.username = "ann", .password = "pw"})->GetManifest("x", "1");
    ASSERT_FALSE(result) << realm;
    EXPECT_EQ(result.error().code(), EACCES) << result.error().ToString();
  }
}

TEST(RegistryAuth, TokenServersThatAnswerNonsense) {
  for (const char* body : {"", "[]", "{}", R"({"token":7})", R"({"token":"a\r\nb"})", "<html>"}) {
    ScriptedHttpServer tokens([=](const ScriptedRequest&) { return ScriptedReply{.body = body}; });
    ScriptedHttpServer server(TokenRegistry(tokens.Url("/t"), "x"));
    const auto result = OpenClient(server)->GetManifest("x", "1");
    ASSERT_FALSE(result) << body;
    EXPECT_EQ(result.error().code(), EBADMSG) << result.error().ToString();
    EXPECT_THAT(result.error().ToString(), HasSubstr("token server"));
  }
}

TEST(RegistryAuth, CredentialsStayWithTheRegistryWhenABlobLeadsElsewhere) {
  const std::string blob = "content";
  // The second host even asks for them (CVE-2020-15157).
  ScriptedHttpServer elsewhere(
      [](const ScriptedRequest&) { return Denied("Basic realm=\"give them to me\""); });
  ScriptedHttpServer server([&](const ScriptedRequest& request) {
    if (request.Header("Authorization").empty()) return Denied("Basic realm=\"x\"");
    return ScriptedReply{.status = 307, .headers = {{"Location", elsewhere.Url("/blob")}}};
  });
  const auto client = OpenClient(server, {.username = "ann", .password = "pw"});
  EXPECT_FALSE(client->ReadBlob("x", Digest::Of(blob), blob.size(), 1000));
  ASSERT_FALSE(elsewhere.Requests().empty());
  for (const auto& request : elsewhere.Requests()) {
    EXPECT_EQ(request.Header("Authorization"), "");
  }
}

}  // namespace
}  // namespace strata::manager
