#include "layerstore/oci/archive_manifest.h"

#include <map>
#include <utility>

#include "base/try.h"
#include "base/utf8.h"
#include "layerstore/oci/image_config.h"
#include "layerstore/oci/json_reader.h"
#include "layerstore/oci/manifest.h"

namespace strata::layerstore {

Result<std::vector<DockerArchiveImage>> ParseDockerArchiveManifest(std::string_view json) {
  constexpr const char* kOp = "manifest.json";
  STRATA_TRY_ASSIGN(const Json list, ParseJsonArray(json, kManifestBytesMax, kOp));
  if (list.size() > kArchiveImagesMax) return Fail(EINVAL, kOp, "too many images");
  std::vector<DockerArchiveImage> images;
  for (const Json& item : list) {
    if (!item.is_object()) return Fail(EINVAL, kOp, "an image is not an object");
    JsonReader reader(item, kOp);
    DockerArchiveImage image;
    image.config = reader.String("Config");
    image.repo_tags = reader.Strings("RepoTags");
    image.layers = reader.Strings("Layers");
    STRATA_TRY(reader.status());
    if (image.config.empty()) return Fail(EINVAL, kOp, "an image has no config");
    if (image.layers.size() > kLayersMax) return Fail(EINVAL, kOp, "an image has too many layers");
    if (image.repo_tags.size() > kArchiveNamesMax) {
      return Fail(EINVAL, kOp, "an image has too many names");
    }
    images.push_back(std::move(image));
  }
  return images;
}

Result<std::vector<LegacyRepositoryTag>> ParseLegacyRepositories(std::string_view json) {
  constexpr const char* kOp = "repositories";
  STRATA_TRY_ASSIGN(const Json object, ParseJsonObject(json, kManifestBytesMax, kOp));
  std::vector<LegacyRepositoryTag> result;
  for (const auto& [name, tags] : object.items()) {
    if (!tags.is_object()) return Fail(EINVAL, kOp, "a repository is not an object");
    for (const auto& [tag, layer] : tags.items()) {
      const auto* id = layer.get_ptr<const std::string*>();
      if (id == nullptr) return Fail(EINVAL, kOp, "a layer id is not a string");
      if (result.size() == kArchiveNamesMax) return Fail(EINVAL, kOp, "too many names");
      result.push_back({std::string(name) + ':' + std::string(tag), *id});
    }
  }
  return result;
}

std::string DockerArchiveManifestJson(std::span<const DockerArchiveImage> images) {
  OrderedJson list = OrderedJson::array();
  for (const DockerArchiveImage& image : images) {
    OrderedJson item;
    item["Config"] = image.config;
    // docker writes null for an image without a name, and reads nothing else as that.
    item["RepoTags"] =
        image.repo_tags.empty() ? OrderedJson(nullptr) : OrderedJson(image.repo_tags);
    item["Layers"] = image.layers;
    list.push_back(std::move(item));
  }
  return DumpJson(list);
}

std::string LegacyRepositoriesJson(std::span<const LegacyRepositoryTag> tags) {
  std::map<std::string, std::map<std::string, std::string>> repositories;
  for (const LegacyRepositoryTag& tag : tags) {
    const std::size_t colon = tag.name.rfind(':');
    repositories[tag.name.substr(0, colon)][tag.name.substr(colon + 1)] = tag.layer;
  }
  return DumpJson(OrderedJson(repositories));
}

std::string OciLayoutJson() {
  OrderedJson json;
  json["imageLayoutVersion"] = "1.0.0";
  return DumpJson(json);
}

Result<> CheckOciLayout(std::string_view json) {
  constexpr const char* kOp = "oci-layout";
  STRATA_TRY_ASSIGN(const Json object, ParseJsonObject(json, kManifestBytesMax, kOp));
  JsonReader reader(object, kOp);
  const std::string version = reader.String("imageLayoutVersion");
  STRATA_TRY(reader.status());
  if (!version.starts_with("1.")) {
    return Fail(ENOTSUP, kOp, "version '" + ShownText(version) + "' is not supported");
  }
  return {};
}

}  // namespace strata::layerstore
