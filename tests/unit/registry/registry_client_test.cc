#include "manager/registry/registry_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "tests/unit/registry/registry_fixture.h"

namespace strata::manager {
namespace {

using support::ScriptedHttpServer;
using support::ScriptedReply;
using support::ScriptedRequest;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kManifestType = "application/vnd.oci.image.manifest.v1+json";

ScriptedReply Manifest(const std::string& body, const std::string& type = kManifestType) {
  return {.headers = {{"Content-Type", type}}, .body = body};
}

TEST(RegistryClient, GetsManifestsByTagAndDigest) {
  const std::string body = R"({"schemaVersion":2})";
  const Digest digest = Digest::Of(body);
  ScriptedHttpServer server(Registry([&](const ScriptedRequest& request) {
    EXPECT_THAT(request.Header("Accept"), HasSubstr("application/vnd.oci.image.index.v1+json"));
    return Manifest(body, std::string(kManifestType) + "; charset=utf-8");
  }));
  const auto client = OpenClient(server);
  for (const std::string& reference : {std::string("1.2"), digest.ToString()}) {
    const auto manifest = client->GetManifest("lib/x", reference);
    ASSERT_TRUE(manifest) << manifest.error().ToString();
    EXPECT_EQ(manifest->bytes, body);
    EXPECT_EQ(manifest->digest, digest);
    EXPECT_EQ(manifest->media_type, kManifestType);
  }
  EXPECT_EQ(server.Count("GET", "/v2/lib/x/manifests/1.2"), 1U);
}

TEST(RegistryClient, ManifestsWithAnotherDigestAreRefused) {
  ScriptedHttpServer server(Registry([](const ScriptedRequest& request) {
    ScriptedReply reply = Manifest("{}");
    if (request.target.ends_with("/announced")) {
      reply.headers.emplace_back("Docker-Content-Digest", Digest::Of("other").ToString());
    }
    return reply;
  }));
  const auto client = OpenClient(server);
  const auto pinned = client->GetManifest("x", Digest::Of("pinned").ToString());
  ASSERT_FALSE(pinned);
  EXPECT_EQ(pinned.error().code(), EBADMSG);
  EXPECT_THAT(pinned.error().ToString(),
              AllOf(HasSubstr(server.Address()), HasSubstr(Digest::Of("{}").ToString())));
  const auto announced = client->GetManifest("x", "announced");
  ASSERT_FALSE(announced);
  EXPECT_EQ(announced.error().code(), EBADMSG);
}

TEST(RegistryClient, AnswersThatAreNoManifest) {
  ScriptedHttpServer server(Registry([](const ScriptedRequest& request) {
    if (request.target.ends_with("/html")) return Manifest("<html>log in</html>", "text/html");
    if (request.target.ends_with("/old")) {
      return Manifest("{}", "application/vnd.docker.distribution.manifest.v1+prettyjws");
    }
    return Manifest(std::string((4U << 20U) + 1, ' '));
  }));
  const auto client = OpenClient(server);
  const auto html = client->GetManifest("x", "html");
  ASSERT_FALSE(html);
  EXPECT_EQ(html.error().code(), EPROTO);
  EXPECT_THAT(html.error().ToString(), HasSubstr("text/html"));
  const auto old = client->GetManifest("x", "old");
  ASSERT_FALSE(old);
  EXPECT_EQ(old.error().code(), EOPNOTSUPP);
  const auto huge = client->GetManifest("x", "huge");
  ASSERT_FALSE(huge);
  EXPECT_EQ(huge.error().code(), EFBIG);
}

struct Refusal {
  int status;
  int code;
  const char* text;
};
class RegistryRefusal : public ::testing::TestWithParam<Refusal> {};

TEST_P(RegistryRefusal, NamesRegistryRepositoryStatusAndReason) {
  ScriptedHttpServer server(Registry([&](const ScriptedRequest&) {
    return ScriptedReply{.status = GetParam().status,
                         .body = R"({"errors":[{"code":"SOME_CODE","message":"some words"}]})"};
  }));
  const auto client = OpenClient(server);
  const auto manifest = client->GetManifest("lib/x", "1");
  ASSERT_FALSE(manifest);
  EXPECT_EQ(manifest.error().code(), GetParam().code);
  EXPECT_THAT(manifest.error().ToString(),
              AllOf(HasSubstr(server.Address()), HasSubstr("lib/x"), HasSubstr(GetParam().text),
                    HasSubstr("SOME_CODE: some words")));
}

INSTANTIATE_TEST_SUITE_P(
    All, RegistryRefusal,
    ::testing::Values(Refusal{401, EACCES, "401"}, Refusal{403, EACCES, "403 Forbidden"},
                      Refusal{404, ENOENT, "404 Not Found"}, Refusal{429, EBUSY, "429"},
                      Refusal{500, EREMOTEIO, "500 Internal Server Error"},
                      Refusal{503, EREMOTEIO, "503"}, Refusal{400, EINVAL, "400"}),
    [](const auto& test) { return std::to_string(test.param.status); });

TEST(RegistryClient, AsksAgainWhenAskedForPatience) {
  std::atomic<int> calls = 0;
  ScriptedHttpServer server(Registry([&](const ScriptedRequest&) {
    const int call = ++calls;
    if (call == 1) return ScriptedReply{.status = 429, .headers = {{"Retry-After", "0"}}};
    if (call == 2) return ScriptedReply{.raw = ""};
    return Manifest("{}");
  }));
  const auto manifest = OpenClient(server)->GetManifest("x", "1");
  EXPECT_TRUE(manifest) << manifest.error().ToString();
  EXPECT_EQ(calls, 3);
}

TEST(RegistryClient, PatienceEnds) {
  ScriptedHttpServer server(
      Registry([](const ScriptedRequest&) { return ScriptedReply{.status = 503}; }));
  EXPECT_FALSE(OpenClient(server)->GetManifest("x", "1"));
  EXPECT_EQ(server.Count("GET", "/manifests/"), 3U);
}

TEST(RegistryClient, ASilentRegistryIsGivenUp) {
  ScriptedHttpServer server([](const ScriptedRequest&) { return ScriptedReply{.silent = true}; });
  const auto start = std::chrono::steady_clock::now();
  const auto client = RegistryClient::Open(server.Address(), {}, QuickRegistryOptions(), nullptr);
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code(), ETIMEDOUT);
  EXPECT_THAT(client.error().ToString(), HasSubstr(server.Address()));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(8));

  ScriptedHttpServer later(
      Registry([](const ScriptedRequest&) { return ScriptedReply{.silent = true}; }));
  const auto manifest = OpenClient(later)->GetManifest("x", "1");
  ASSERT_FALSE(manifest);
  EXPECT_EQ(manifest.error().code(), ETIMEDOUT);
  EXPECT_THAT(manifest.error().ToString(), HasSubstr("get manifest 1 of x"));
}

TEST(RegistryClient, NamesThatAreNoRegistry) {
  for (const char* name : {"", "bad host", "a/b", "host:port", "user@host"}) {
    const auto client = RegistryClient::Open(name, {}, QuickRegistryOptions(), nullptr);
    EXPECT_FALSE(client) << name;
  }
}

TEST(RegistryClient, PutsManifestsAsTheyAre) {
  const std::string bytes = "{ \"odd\" :  1}";
  ScriptedHttpServer server(Registry([&](const ScriptedRequest& request) {
    EXPECT_EQ(request.body, bytes);
    EXPECT_EQ(request.Header("Content-Type"), kManifestType);
    ScriptedReply reply{.status = 201};
    if (request.target.ends_with("/changed")) {
      reply.headers.emplace_back("Docker-Content-Digest", Digest::Of("else").ToString());
    }
    return reply;
  }));
  const auto client = OpenClient(server);
  EXPECT_TRUE(client->PutManifest("x", "1", kManifestType, bytes));
  const auto changed = client->PutManifest("x", "changed", kManifestType, bytes);
  ASSERT_FALSE(changed);
  EXPECT_EQ(changed.error().code(), EBADMSG);
}

}  // namespace
}  // namespace strata::manager
