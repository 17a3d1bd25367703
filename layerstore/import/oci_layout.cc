// OCI image layouts.
// https://github.com/opencontainers/image-spec/blob/main/image-layout.md
#include <map>
#include <utility>

#include "base/try.h"
#include "layerstore/import/importer.h"
#include "layerstore/oci/archive_manifest.h"
#include "layerstore/oci/media_types.h"

namespace strata::layerstore {
namespace {

constexpr const char* kRefName = "org.opencontainers.image.ref.name";
constexpr const char* kContainerdName = "io.containerd.image.name";
constexpr int kIndexDepthMax = 4;

std::string BlobName(const Digest& digest) { return "blobs/sha256/" + digest.Hex(); }

Result<std::string> ReadBlob(ImageFiles& files, const Descriptor& descriptor, std::size_t limit) {
  STRATA_TRY_ASSIGN(std::string body, files.Read(BlobName(descriptor.digest), limit));
  STRATA_TRY(VerifyBytes(descriptor, body));
  return body;
}

// The name an index entry goes by, "" if none. containerd's is a whole reference; the OCI one may
// be just a tag, which names nothing by itself.
std::string NameOf(const Descriptor& descriptor) {
  for (const char* key : {kContainerdName, kRefName}) {
    const auto it = descriptor.annotations.find(key);
    if (it == descriptor.annotations.end()) continue;
    const bool bare_tag = key == kRefName && it->second.find_first_of("/:") == std::string::npos;
    if (!bare_tag) return it->second;
  }
  return {};
}

Result<Descriptor> SelectOne(const Index& index, const Platform& platform) {
  // A layout with one image is meant, whatever it runs on.
  if (index.manifests.size() == 1) return index.manifests.front();
  return SelectPlatform(index, platform);
}

struct FoundManifest {
  Descriptor descriptor;
  std::string json;
  Manifest manifest;
};

Result<FoundManifest> FindManifest(const ImportContext& context, ImageFiles& files,
                                   Descriptor descriptor) {
  for (int depth = 0; depth < kIndexDepthMax; ++depth) {
    STRATA_TRY_ASSIGN(std::string json, ReadBlob(files, descriptor, kManifestBytesMax));
    STRATA_TRY_ASSIGN(ManifestOrIndex document, ParseManifestOrIndex(json, descriptor.media_type));
    if (auto* manifest = std::get_if<Manifest>(&document)) {
      return FoundManifest{std::move(descriptor), std::move(json), std::move(*manifest)};
    }
    STRATA_TRY_ASSIGN(descriptor, SelectOne(std::get<Index>(document), context.options.platform));
  }
  return Fail(EINVAL, "OCI layout", "indexes are nested too deeply");
}

Result<ImportedImage> ImportManifest(const ImportContext& context, ImageFiles& files,
                                     Descriptor descriptor, const std::vector<Reference>& names) {
  STRATA_TRY_ASSIGN(FoundManifest found, FindManifest(context, files, std::move(descriptor)));
  STRATA_TRY_ASSIGN(std::string config_json,
                    ReadBlob(files, found.manifest.config, kConfigBytesMax));
  STRATA_TRY_ASSIGN(const ImageConfig config, ParseImageConfig(config_json));
  if (config.diff_ids.size() != found.manifest.layers.size()) {
    return Fail(EINVAL, "OCI layout", "manifest and config disagree about the number of layers");
  }
  for (std::size_t i = 0; i < config.diff_ids.size(); ++i) {
    const Descriptor& layer = found.manifest.layers[i];
    LayerIngest ingest;
    ingest.blob = layer.digest;
    ingest.blob_size = layer.size;
    ingest.diff_id = config.diff_ids[i];
    ingest.media_type = layer.media_type;
    auto imported = ImportLayer(context, std::move(ingest), [&](const auto& take) {
      return files.Stream(BlobName(layer.digest), take);
    });
    if (!imported) {
      return std::unexpected(
          std::move(imported).error().WithContext("layer " + layer.digest.ToString()));
    }
  }
  return Put(context,
             {std::move(config_json), std::move(found.json), found.manifest.media_type, {}}, names);
}

}  // namespace

Result<std::vector<ImportedImage>> ImportOciLayout(const ImportContext& context,
                                                   ImageFiles& files) {
  STRATA_TRY_ASSIGN(const std::string layout, files.Read("oci-layout", kManifestBytesMax));
  STRATA_TRY(CheckOciLayout(layout));
  STRATA_TRY_ASSIGN(const std::string index_json, files.Read("index.json", kManifestBytesMax));
  STRATA_TRY_ASSIGN(const Index index, ParseIndex(index_json, media_type::kOciIndex));

  // Entries of one name are one image for several platforms.
  std::map<std::string, Index> by_name;
  for (const Descriptor& descriptor : index.manifests) {
    by_name[NameOf(descriptor)].manifests.push_back(descriptor);
  }
  if (by_name.empty()) return Fail(EINVAL, "OCI layout", "has no images");
  // And one image may have several.
  struct Chosen {
    Descriptor descriptor;
    std::vector<std::string> names;
  };
  std::map<Digest, Chosen> chosen;
  for (const auto& [name, candidates] : by_name) {
    STRATA_TRY_ASSIGN(Descriptor one, SelectOne(candidates, context.options.platform));
    Chosen& image = chosen[one.digest];
    image.descriptor = std::move(one);
    if (!name.empty()) image.names.push_back(name);
  }
  if (context.options.name && chosen.size() > 1) {
    return Fail(EINVAL, "OCI layout", "has several images, so they can not all get one name");
  }
  std::vector<ImportedImage> images;
  for (auto& [digest, one] : chosen) {
    STRATA_TRY_ASSIGN(const auto names, NamesFor(context, one.names));
    STRATA_TRY_ASSIGN(ImportedImage image,
                      ImportManifest(context, files, std::move(one.descriptor), names));
    images.push_back(std::move(image));
  }
  return images;
}

}  // namespace strata::layerstore
