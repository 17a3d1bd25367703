// The JSON documents that say what an image or an archive is made of. What is taken is written back
// and read as the same; what is not gives an error that can be shown.
#include "layerstore/oci/archive_manifest.h"
#include "layerstore/oci/image_config.h"
#include "layerstore/oci/manifest.h"
#include "layerstore/oci/media_types.h"
#include "tests/fuzz/target.h"

namespace strata::fuzz {
namespace {

namespace media_type = layerstore::media_type;
using layerstore::Index;
using layerstore::Manifest;

void ExpectShowable(const Error& error) {
  const std::string text = error.ToString();
  Expect(text.size() < 4096, "an error is short");
  for (const char c : text) {
    Expect(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F, "an error is one line of text");
  }
}

std::string ToJson(const layerstore::ManifestOrIndex& document) {
  return std::visit([](const auto& one) { return one.ToJson(); }, document);
}

void TryManifest(std::string_view input, std::string_view sent_as) {
  const auto document = layerstore::ParseManifestOrIndex(input, sent_as);
  if (!document) return ExpectShowable(document.error());
  const std::string json = ToJson(*document);
  const auto again = layerstore::ParseManifestOrIndex(json, sent_as);
  // What was not UTF-8 was made so, which may make it longer than what is taken.
  if (again) Expect(ToJson(*again) == json, "a manifest is read back");
  if (const auto* index = std::get_if<Index>(&*document)) {
    const auto one = layerstore::SelectPlatform(*index, {"linux", "amd64", "", ""});
    if (!one) ExpectShowable(one.error());
  }
}

void TryConfig(std::string_view input) {
  const auto config = layerstore::ParseImageConfig(input);
  if (!config) return ExpectShowable(config.error());
  const std::string json = config->ToJson();
  const auto again = layerstore::ParseImageConfig(json);
  if (again) Expect(again->ToJson() == json, "a configuration is read back");
}

void TryArchive(std::string_view input) {
  if (const auto images = layerstore::ParseDockerArchiveManifest(input)) {
    const auto again =
        layerstore::ParseDockerArchiveManifest(layerstore::DockerArchiveManifestJson(*images));
    Expect(again && again->size() == images->size(), "manifest.json is read back");
  } else {
    ExpectShowable(images.error());
  }
  const auto tags = layerstore::ParseLegacyRepositories(input);
  if (!tags) ExpectShowable(tags.error());
  const auto layout = layerstore::CheckOciLayout(input);
  if (!layout) ExpectShowable(layout.error());
  const auto legacy = layerstore::ParseLegacyImage(input);
  if (!legacy) ExpectShowable(legacy.error());
}

constexpr std::string_view kConfig =
    R"({"created":"2024-01-02T03:04:05Z","author":"a","architecture":"arm64","variant":"v8",)"
    R"("os":"linux","config":{"User":"1:2","ExposedPorts":{"80/tcp":{}},"Env":["A=b"],)"
    R"("Entrypoint":["/x"],"Cmd":null,"Volumes":{"/v":{}},"WorkingDir":"/w","Labels":{"k":"v"},)"
    R"("StopSignal":"SIGTERM","StopTimeout":10,"Shell":["sh"],"OnBuild":["RUN x"],)"
    R"("Healthcheck":{"Test":["CMD","x"],"Interval":1000000000,"Retries":3}},)"
    R"("rootfs":{"type":"layers","diff_ids":["sha256:)"
    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
    R"("]},"history":[{"created_by":"x","empty_layer":true},{"comment":"y"}]})";

}  // namespace

void Repair(std::string&) {}

void TryInput(std::string_view input) {
  for (const std::string_view sent_as :
       {std::string_view(), media_type::kOciManifest, media_type::kDockerList}) {
    TryManifest(input, sent_as);
  }
  TryConfig(input);
  TryArchive(input);
}

std::vector<Input> Seeds() {
  layerstore::Descriptor blob;
  blob.media_type = std::string(media_type::kOciLayerGzip);
  blob.digest = Digest::Of("layer");
  blob.size = 5;
  blob.urls = {"https://example.com/layer"};
  blob.annotations = {{"org.opencontainers.image.ref.name", "example.com/app:1"}};
  Manifest manifest;
  manifest.media_type = std::string(media_type::kOciManifest);
  manifest.config = blob;
  manifest.layers = {blob, blob};
  manifest.annotations = blob.annotations;
  Index index;
  index.media_type = std::string(media_type::kDockerList);
  blob.platform = {"linux", "arm64", "v8", "10.0"};
  index.manifests = {blob, blob};
  std::string deep;
  for (int i = 0; i < 70; ++i) deep += R"({"a":[)";
  return {{"manifest", manifest.ToJson()},
          {"index", index.ToJson()},
          {"both", R"({"schemaVersion":2,"manifests":[],"layers":[],"config":{}})"},
          {"schema1", R"({"schemaVersion":1,"fsLayers":[],"history":[]})"},
          {"config", std::string(kConfig)},
          {"legacy-config", R"({"id":"x","parent":"y","os":"linux","config":{"Cmd":["x"]}})"},
          {"docker-archive",
           R"([{"Config":"c.json","RepoTags":["debian:12"],"Layers":["a/layer.tar"]}])"},
          {"repositories", R"({"debian":{"12":"aaaa","latest":"aaaa"}})"},
          {"oci-layout", R"({"imageLayoutVersion":"1.0.0"})"},
          {"twice", R"({"schemaVersion":2,"schemaVersion":1,"layers":[],"layers":[]})"},
          {"numbers", R"({"schemaVersion":2e0,"config":{"size":-1,"digest":"sha256:"}})"},
          {"control", "{\"mediaType\":\"\\u001b[31m\\u0000\",\"schemaVersion\":2}"},
          {"deep", deep}};
}

}  // namespace strata::fuzz
