// What `docker save` writes: with manifest.json, and before docker 1.10 with `repositories` alone.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/try.h"
#include "layerstore/archive/entry_path.h"
#include "layerstore/import/importer.h"
#include "layerstore/oci/archive_manifest.h"

namespace strata::layerstore {
namespace {

Result<ImportedImage> ImportOne(const ImportContext& context, ImageFiles& files,
                                const DockerArchiveImage& item) {
  STRATA_TRY_ASSIGN(std::string config_json, files.Read(item.config, kConfigBytesMax));
  STRATA_TRY_ASSIGN(const ImageConfig config, ParseImageConfig(config_json));
  if (config.diff_ids.size() != item.layers.size()) {
    return Fail(
        EINVAL, "docker archive",
        "manifest.json and " + ShownName(item.config) + " disagree about the number of layers");
  }
  // Known by the names of their files; most are not compressed.
  std::vector<LayerMember> members;
  for (std::size_t i = 0; i < item.layers.size(); ++i) {
    members.push_back({item.layers[i], ShownName(item.layers[i])});
    members.back().ingest.diff_id = config.diff_ids[i];
  }
  STRATA_TRY_ASSIGN(auto layers, ImportLayers(context, files, members));
  STRATA_TRY_ASSIGN(const auto names, NamesFor(context, item.repo_tags));
  return PutWithManifest(context, std::move(config_json), std::move(layers), names);
}

// The layers of a legacy image, base first: every layer has a directory with its JSON and tar.
struct LegacyLayer {
  std::string id;
  LegacyImage image;
};

Result<std::vector<LegacyLayer>> LegacyChain(ImageFiles& files, const std::string& top) {
  std::vector<LegacyLayer> chain;
  std::set<std::string> seen;
  for (std::string id = top; !id.empty(); id = chain.back().image.parent) {
    if (!seen.insert(id).second || chain.size() == kLayersMax) {
      return Fail(EINVAL, "docker archive", "layers are each other's parents");
    }
    STRATA_TRY_ASSIGN(const std::string json, files.Read(id + "/json", kConfigBytesMax));
    STRATA_TRY_ASSIGN(LegacyImage image, ParseLegacyImage(json));
    chain.push_back({id, std::move(image)});
  }
  std::reverse(chain.begin(), chain.end());
  return chain;
}

Result<ImportedImage> ImportLegacy(const ImportContext& context, ImageFiles& files,
                                   const std::string& top, const std::vector<std::string>& tags) {
  STRATA_TRY_ASSIGN(auto chain, LegacyChain(files, top));
  ImageConfig config = chain.back().image.config;
  if (config.platform.os.empty()) config.platform.os = "linux";
  if (config.platform.architecture.empty()) config.platform.architecture = "amd64";
  std::vector<LayerMember> members;
  for (const LegacyLayer& layer : chain) {
    const std::string file = layer.id + "/layer.tar";
    members.push_back({file, ShownName(file)});
    config.history.push_back({layer.image.config.created, "", "", "", false});
  }
  STRATA_TRY_ASSIGN(auto layers, ImportLayers(context, files, members));
  for (const Descriptor& layer : layers) {
    STRATA_TRY_ASSIGN(const LayerBlob blob, context.store.layers().FindBlob(layer.digest));
    config.diff_ids.push_back(blob.diff_id);
  }
  STRATA_TRY_ASSIGN(const auto names, NamesFor(context, tags));
  return PutWithManifest(context, config.ToJson(), std::move(layers), names);
}

}  // namespace

Result<std::vector<ImportedImage>> ImportDockerArchive(const ImportContext& context,
                                                       ImageFiles& files) {
  STRATA_TRY_ASSIGN(const std::string json, files.Read("manifest.json", kManifestBytesMax));
  STRATA_TRY_ASSIGN(const auto items, ParseDockerArchiveManifest(json));
  if (items.empty()) return Fail(EINVAL, "docker archive", "has no images");
  if (context.options.name && items.size() > 1) {
    return Fail(EINVAL, "docker archive", "has several images, so they can not all get one name");
  }
  std::vector<ImportedImage> images;
  for (const DockerArchiveImage& item : items) {
    STRATA_TRY_ASSIGN(ImportedImage image, ImportOne(context, files, item));
    images.push_back(std::move(image));
  }
  return images;
}

Result<std::vector<ImportedImage>> ImportLegacyArchive(const ImportContext& context,
                                                       ImageFiles& files) {
  STRATA_TRY_ASSIGN(const std::string json, files.Read("repositories", kManifestBytesMax));
  STRATA_TRY_ASSIGN(const auto tags, ParseLegacyRepositories(json));
  std::map<std::string, std::vector<std::string>> by_layer;
  for (const LegacyRepositoryTag& tag : tags) by_layer[tag.layer].push_back(tag.name);
  if (by_layer.empty()) return Fail(EINVAL, "docker archive", "has no images");
  if (context.options.name && by_layer.size() > 1) {
    return Fail(EINVAL, "docker archive", "has several images, so they can not all get one name");
  }
  std::vector<ImportedImage> images;
  for (const auto& [layer, names] : by_layer) {
    STRATA_TRY_ASSIGN(ImportedImage image, ImportLegacy(context, files, layer, names));
    images.push_back(std::move(image));
  }
  return images;
}

}  // namespace strata::layerstore
