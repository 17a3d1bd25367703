// References, manifests, configurations and timestamps.
#include <gtest/gtest.h>
#include <time.h>

#include <chrono>
#include <string>

#include "layerstore/oci/archive_manifest.h"
#include "layerstore/oci/image_config.h"
#include "layerstore/oci/manifest.h"
#include "layerstore/oci/media_types.h"
#include "layerstore/oci/reference.h"
#include "layerstore/oci/timestamp.h"
#include "tests/support/must.h"

namespace strata::layerstore {
namespace {

using support::Must;

const std::string kDigest = "sha256:" + std::string(64, 'a');

struct Named {
  std::string text;
  std::string canonical;
  std::string familiar;
};

class ReferenceTest : public ::testing::TestWithParam<Named> {};

TEST_P(ReferenceTest, NormalizesLikeDocker) {
  const Reference reference = Must(Reference::Parse(GetParam().text));
  EXPECT_EQ(reference.ToString(), GetParam().canonical);
  EXPECT_EQ(reference.Familiar(), GetParam().familiar);
  EXPECT_EQ(Must(Reference::Parse(reference.ToString())), reference);
  EXPECT_EQ(Must(Reference::Parse(reference.Familiar())), reference);
}

INSTANTIATE_TEST_SUITE_P(
    Names, ReferenceTest,
    ::testing::Values(Named{"debian", "docker.io/library/debian", "debian"},
                      Named{"debian:12", "docker.io/library/debian:12", "debian:12"},
                      Named{"me/app", "docker.io/me/app", "me/app"},
                      Named{"docker.io/debian", "docker.io/library/debian", "debian"},
                      Named{"index.docker.io/me/app:1", "docker.io/me/app:1", "me/app:1"},
                      Named{"docker.io/library/debian", "docker.io/library/debian", "debian"},
                      Named{"library/a/b", "docker.io/library/a/b", "library/a/b"},
                      Named{"localhost/x", "localhost/x", "localhost/x"},
                      Named{"localhost:5000/x", "localhost:5000/x", "localhost:5000/x"},
                      Named{"localhost:5000/x:5", "localhost:5000/x:5", "localhost:5000/x:5"},
                      Named{"[::1]:5000/x", "[::1]:5000/x", "[::1]:5000/x"},
                      Named{"EXAMPLE.com/x", "EXAMPLE.com/x", "EXAMPLE.com/x"},
                      Named{"a__b/c-d.e_f--g", "docker.io/a__b/c-d.e_f--g", "a__b/c-d.e_f--g"},
                      Named{"x@" + kDigest, "docker.io/library/x@" + kDigest, "x@" + kDigest},
                      Named{"x:1@" + kDigest, "docker.io/library/x:1@" + kDigest,
                            "x:1@" + kDigest}));

TEST(ReferenceRefusalTest, BadNames) {
  for (const std::string& text : {std::string(),
                                  std::string("Debian"),
                                  std::string("a/B"),
                                  std::string("x:"),
                                  std::string("x:-1"),
                                  std::string("x:") + std::string(129, 't'),
                                  std::string("-x"),
                                  std::string("x-"),
                                  std::string("a//b"),
                                  std::string("/a"),
                                  std::string("a/"),
                                  std::string("a___b"),
                                  std::string("a..b"),
                                  std::string("x@sha256:abc"),
                                  std::string("x@md5:d41d8cd98f00b204e9800998ecf8427e"),
                                  std::string("x@") + kDigest + "0",
                                  std::string("../x"),
                                  std::string("a/../b"),
                                  std::string("x y"),
                                  std::string("x\n"),
                                  std::string("x\0y", 3),
                                  std::string("host:99999999/x"),
                                  std::string("a.-b/x"),
                                  std::string("https://example.com/x"),
                                  std::string(64, 'a'),
                                  std::string(256, 'a'),
                                  std::string("caf\xc3\xa9")}) {
    const auto parsed = Reference::Parse(text);
    ASSERT_FALSE(parsed.has_value()) << text;
    EXPECT_EQ(parsed.error().code(), EINVAL) << text;
  }
}

TEST(ReferenceRefusalTest, Variants) {
  const Reference plain = Must(Reference::Parse("debian"));
  EXPECT_EQ(plain.WithDefaultTag().Familiar(), "debian:latest");
  EXPECT_EQ(Must(plain.WithTag("12")).Familiar(), "debian:12");
  EXPECT_FALSE(plain.WithTag("a/b").has_value());
  const Reference pinned = Must(plain.WithTag("12")).WithDigest(Must(Digest::Parse(kDigest)));
  EXPECT_EQ(pinned.Familiar(), "debian@" + kDigest);
  EXPECT_EQ(pinned.WithDefaultTag(), pinned);
}

std::string Blob(const std::string& extra = "") {
  return R"({"mediaType":"t","digest":")" + kDigest + R"(","size":10)" + extra + "}";
}

TEST(ManifestTest, RoundTrip) {
  Manifest manifest;
  manifest.media_type = std::string(media_type::kDockerManifest);
  manifest.config = {"c", Must(Digest::Parse(kDigest)), 7, {}, {}, {}};
  manifest.layers = {{"l", Must(Digest::Parse(kDigest)), 8, {"https://x/"}, {{"k", "v"}}, {}}};
  const std::string json = manifest.ToJson();
  const Manifest back = Must(ParseManifest(json, media_type::kDockerManifest));
  EXPECT_EQ(back.ToJson(), json);
  EXPECT_EQ(back.layers[0].urls[0], "https://x/");
  Index index;
  index.media_type = std::string(media_type::kOciIndex);
  index.manifests = {manifest.config};
  index.manifests[0].platform = Platform{"linux", "arm64", "v8", ""};
  EXPECT_EQ(Must(ParseIndex(index.ToJson(), "")).ToJson(), index.ToJson());
}

TEST(ManifestTest, Refusals) {
  const std::string v2 = R"("schemaVersion":2,)";
  const std::string oci = R"("mediaType":"application/vnd.oci.image.manifest.v1+json",)";
  const auto refused = [](const std::string& json, std::string_view type = "") {
    const auto parsed = ParseManifestOrIndex(json, type);
    if (parsed) return testing::AssertionFailure() << "accepted " << json;
    EXPECT_EQ(parsed.error().code(), EINVAL);
    return testing::AssertionSuccess() << parsed.error().ToString();
  };
  EXPECT_TRUE(refused(""));
  EXPECT_TRUE(refused("[]"));
  EXPECT_TRUE(refused("{"));
  EXPECT_TRUE(refused("{}"));
  EXPECT_TRUE(refused(R"({"schemaVersion":1,"config":)" + Blob() + "}"));
  // A manifest that is also an index: CVE-2021-41190.
  EXPECT_TRUE(refused("{" + v2 + R"("manifests":[],"config":)" + Blob() + R"(,"layers":[]})"));
  EXPECT_TRUE(refused("{" + v2 + R"("manifests":[],"layers":[]})"));
  EXPECT_TRUE(refused("{" + v2 + oci + R"("manifests":[]})"));
  EXPECT_TRUE(refused("{" + v2 + R"("config":)" + Blob() + "}", media_type::kOciIndex));
  EXPECT_TRUE(refused("{" + v2 + oci + R"("config":)" + Blob() + R"(,"layers":[]})",
                      media_type::kDockerManifest));
  EXPECT_TRUE(refused("{" + v2 + R"("layers":[]})"));
  EXPECT_TRUE(refused("{" + v2 + R"("fsLayers":[],"config":)" + Blob() + "}"));
  EXPECT_TRUE(refused("{" + v2 + R"("config":{"digest":"sha256:../../x","size":1}})"));
  EXPECT_TRUE(refused("{" + v2 + R"("config":{"digest":")" + kDigest + R"(","size":-1}})"));
  EXPECT_TRUE(refused("{" + v2 + R"("config":{"digest":")" + kDigest + R"("}})"));
  EXPECT_TRUE(refused("{" + v2 + R"("config":{"digest":7,"size":1}})"));
  EXPECT_TRUE(refused("{" + v2 + R"("config":)" + Blob() + R"(,"layers":[7]})"));
  EXPECT_TRUE(refused("{" + v2 + R"("config":)" + Blob() + R"(,"layers":{}})"));
  EXPECT_TRUE(refused("{" + v2 + R"("manifests":[)" + Blob(R"(,"platform":7)") + "]}"));
  EXPECT_TRUE(refused(std::string(kManifestBytesMax + 1, ' ')));
  EXPECT_TRUE(refused(std::string(100000, '[')));
}

TEST(ManifestTest, SelectsPlatforms) {
  Index index;
  const auto add = [&](char digit, std::optional<Platform> platform) {
    Descriptor descriptor;
    descriptor.digest = Must(Digest::FromHex(std::string(64, digit)));
    descriptor.platform = std::move(platform);
    index.manifests.push_back(std::move(descriptor));
  };
  add('1', Platform{"linux", "arm", "v6", ""});
  add('2', Platform{"linux", "arm64", "v8", ""});
  add('3', Platform{"linux", "amd64", "", ""});
  const auto chosen = [&](const char* text) {
    return Must(SelectPlatform(index, Must(ParsePlatform(text)))).digest.Hex()[0];
  };
  EXPECT_EQ(chosen("linux/amd64"), '3');
  EXPECT_EQ(chosen("x86_64"), '3');
  EXPECT_EQ(chosen("linux/arm64"), '2');
  EXPECT_EQ(chosen("linux/arm/v6"), '1');
  const auto none = SelectPlatform(index, {"linux", "s390x", "", ""});
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error().code(), ENOENT);
  EXPECT_NE(none.error().ToString().find("linux/arm64/v8"), std::string::npos);
  EXPECT_FALSE(ParsePlatform("linux//x").has_value());
  EXPECT_FALSE(ParsePlatform("a/b/c/d").has_value());
}

TEST(ManifestTest, VerifiesBytes) {
  Descriptor descriptor;
  descriptor.digest = Digest::Of("hello");
  descriptor.size = 5;
  EXPECT_TRUE(VerifyBytes(descriptor, "hello").has_value());
  EXPECT_EQ(VerifyBytes(descriptor, "hellO").error().code(), EBADMSG);
  EXPECT_EQ(VerifyBytes(descriptor, "hello!").error().code(), EBADMSG);
}

TEST(ImageConfigTest, RoundTrip) {
  ImageConfig config;
  config.created = "2024-01-02T03:04:05Z";
  config.platform = {"linux", "amd64", "", ""};
  config.user = "1000:1000";
  config.exposed_ports = {"80/tcp"};
  config.env = {"A=b"};
  config.entrypoint = {"/e"};
  config.cmd = {"c"};
  config.volumes = {"/data"};
  config.working_dir = "/w";
  config.labels = {{"k", "v"}};
  config.stop_signal = "SIGINT";
  config.stop_timeout = 3;
  config.health_check = HealthCheck{{"CMD", "true"}, 1, 2, 3, 4};
  config.diff_ids = {Must(Digest::Parse(kDigest))};
  config.history = {{"2024-01-02T03:04:05Z", "RUN x", "", "", true}};
  const std::string json = config.ToJson();
  const ImageConfig back = Must(ParseImageConfig(json));
  EXPECT_EQ(back.ToJson(), json);
  EXPECT_EQ(back.health_check->retries, 4);
  EXPECT_EQ(back.stop_timeout, 3);
  EXPECT_TRUE(back.history[0].empty_layer);
}

TEST(ImageConfigTest, NullsAndRefusals) {
  const ImageConfig config = Must(ParseImageConfig(
      R"({"config":{"Cmd":null,"Volumes":null,"Labels":null},"rootfs":{"diff_ids":null}})"));
  EXPECT_TRUE(config.cmd.empty());
  for (const char* json :
       {"7", "{}", R"({"rootfs":[]})", R"({"rootfs":{"diff_ids":["x"]}})",
        R"({"rootfs":{},"config":{"Cmd":"x"}})", R"({"rootfs":{},"config":{"Env":[1]}})",
        R"({"rootfs":{},"history":{}})"}) {
    EXPECT_FALSE(ParseImageConfig(json).has_value()) << json;
  }
}

TEST(ImageConfigTest, ChainId) {
  EXPECT_TRUE(ChainId({}).empty());
  const Digest a = Digest::Of("a");
  const Digest b = Digest::Of("b");
  EXPECT_EQ(ChainId(std::array{a}), a);
  EXPECT_EQ(ChainId(std::array{a, b}), Digest::Of(a.ToString() + " " + b.ToString()));
}

// 8 MiB of short keys take a search through all the earlier ones for each, or they do not.
std::chrono::nanoseconds CpuTime() {
  struct timespec now = {};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

TEST(HostileJsonTest, ManyKeysTakeNoTime) {
  std::string volumes;
  for (int i = 0; i < 90'000; ++i)
    volumes += (i == 0 ? "\"/" : ",\"/") + std::to_string(i) + "\":{}";
  const std::string config = R"({"config":{"Volumes":{)" + volumes + R"(}},)" +
                             R"("rootfs":{"type":"layers","diff_ids":[]}})";
  const auto begin = CpuTime();
  const auto parsed = ParseImageConfig(config);
  ASSERT_TRUE(parsed.has_value()) << parsed.error().ToString();
  EXPECT_EQ(parsed->volumes.size(), 90'000U);
  const auto again = ParseImageConfig(parsed->ToJson());
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->volumes, parsed->volumes);
  EXPECT_LT(CpuTime() - begin, std::chrono::seconds(5));
}

TEST(HostileJsonTest, LimitsOfKeysAndDepth) {
  std::string keys;
  for (int i = 0; i < 100'001; ++i) keys += ",\"" + std::to_string(i) + "\":0";
  const std::string tail = R"("rootfs":{"type":"layers","diff_ids":[]}})";
  const auto many = ParseImageConfig(R"({"x":{"":0)" + keys + "}," + tail);
  ASSERT_FALSE(many.has_value());
  EXPECT_EQ(many.error().code(), EINVAL);
  EXPECT_NE(many.error().ToString().find("too many keys"), std::string::npos);
  const auto nested = [&](std::size_t depth) {
    return ParseImageConfig(R"({"x":)" + std::string(depth, '[') + std::string(depth, ']') + "," +
                            tail);
  };
  EXPECT_TRUE(nested(60).has_value());
  for (const std::size_t depth : {std::size_t{64}, std::size_t{1'000'000}}) {
    const auto deep = nested(depth);
    ASSERT_FALSE(deep.has_value());
    EXPECT_NE(deep.error().ToString().find("too deeply"), std::string::npos);
  }
}

TEST(HostileJsonTest, LimitsOfArchives) {
  const auto times = [](std::size_t count, const std::string& item) {
    std::string list = "[";
    for (std::size_t i = 0; i < count; ++i) list += (i == 0 ? "" : ",") + item;
    return list + "]";
  };
  const auto image = [](const std::string& tags, const std::string& layers) {
    return R"({"Config":"c","RepoTags":)" + tags + R"(,"Layers":)" + layers + "}";
  };
  EXPECT_EQ(ParseDockerArchiveManifest(times(1000, image("[]", "[]")))->size(), 1000U);
  for (const std::string& json :
       {times(1001, image("[]", "[]")), times(1, image(times(1001, "\"a:1\""), "[]")),
        times(1, image("[]", times(4097, "\"l\"")))}) {
    const auto parsed = ParseDockerArchiveManifest(json);
    ASSERT_FALSE(parsed.has_value());
    EXPECT_EQ(parsed.error().code(), EINVAL);
    EXPECT_NE(parsed.error().ToString().find("too many"), std::string::npos);
  }
  std::string tags;
  for (int i = 0; i < 1001; ++i) {
    tags += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":\"layer\"";
  }
  EXPECT_FALSE(ParseLegacyRepositories("{\"app\":{" + tags + "}}").has_value());
}

TEST(TimestampTest, Rfc3339) {
  EXPECT_EQ(Must(ParseRfc3339("1970-01-01T00:00:00Z")), 0);
  EXPECT_EQ(Must(ParseRfc3339("2024-02-29T12:30:00.123456789+02:00")), 1709202600);
  EXPECT_EQ(Must(ParseRfc3339("0001-01-01T00:00:00Z")), -62135596800);
  EXPECT_EQ(FormatRfc3339(1709202600), "2024-02-29T10:30:00Z");
  for (const char* text :
       {"", "2024", "2023-02-29T00:00:00Z", "2024-01-01T24:00:00Z", "2024-01-01T00:00:00",
        "2024-01-01T00:00:00.Z", "2024-01-01T00:00:00ZZ", "-024-01-01T00:00:00Z"}) {
    EXPECT_FALSE(ParseRfc3339(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace strata::layerstore
