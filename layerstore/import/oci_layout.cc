// OCI image layouts.
// https://github.com/opencontainers/image-spec/blob/main/image-layout.md
#include <map>
#include <optional>
#include <utility>
#include <vector>

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

// Config and layers of a manifest, and what makes an image of them.
Result<NewImage> BringIn(const ImportContext& context, ImageFiles& files, FoundManifest found) {
  STRATA_TRY_ASSIGN(std::string config_json,
                    ReadBlob(files, found.manifest.config, kConfigBytesMax));
  STRATA_TRY_ASSIGN(const ImageConfig config, ParseImageConfig(config_json));
  if (config.diff_ids.size() != found.manifest.layers.size()) {
    return Fail(EINVAL, "OCI layout", "manifest and config disagree about the number of layers");
  }
  std::vector<LayerMember> layers;
  for (std::size_t i = 0; i < config.diff_ids.size(); ++i) {
    const Descriptor& layer = found.manifest.layers[i];
    LayerMember& member = layers.emplace_back(BlobName(layer.digest), layer.digest.ToString());
    member.ingest.blob = layer.digest;
    member.ingest.blob_size = layer.size;
    member.ingest.diff_id = config.diff_ids[i];
    member.ingest.media_type = layer.media_type;
  }
  STRATA_TRY(ImportLayers(context, files, layers));
  return NewImage{std::move(config_json), std::move(found.json), found.manifest.media_type, {}};
}

// Entries of one name are one image, for one platform or for several. Entries without a name are
// one image as long as no platform comes twice.
std::vector<Index> GroupByName(const Index& index) {
  std::map<std::pair<std::string, std::size_t>, Index> groups;
  std::map<std::string, std::size_t> nameless;  // by platform
  for (const Descriptor& descriptor : index.manifests) {
    std::string name = NameOf(descriptor);
    std::size_t number = 0;
    if (name.empty()) {
      const auto tag = descriptor.annotations.find(kRefName);
      if (tag != descriptor.annotations.end()) {
        name = ":" + tag->second;
      } else {
        number = nameless[descriptor.platform ? descriptor.platform->ToString() : ""]++;
      }
    }
    groups[{std::move(name), number}].manifests.push_back(descriptor);
  }
  std::vector<Index> list;
  for (auto& [name, group] : groups) list.push_back(std::move(group));
  return list;
}

// The images of one index, with its exact bytes.
struct FoundIndex {
  std::string json;
  Index index;
};

// What the entries of one name are, if that is more than one image's manifest.
Result<std::optional<FoundIndex>> FindIndex(ImageFiles& files, const Index& group) {
  if (group.manifests.size() == 1) {
    const Descriptor& only = group.manifests.front();
    STRATA_TRY_ASSIGN(std::string json, ReadBlob(files, only, kManifestBytesMax));
    STRATA_TRY_ASSIGN(ManifestOrIndex document, ParseManifestOrIndex(json, only.media_type));
    if (auto* index = std::get_if<Index>(&document)) {
      return std::optional(FoundIndex{std::move(json), std::move(*index)});
    }
    return std::optional<FoundIndex>();
  }
  // They stand in the layout's own index, side by side: theirs is made here.
  Index index;
  index.media_type = std::string(media_type::kOciIndex);
  for (Descriptor descriptor : group.manifests) {
    descriptor.annotations.erase(kRefName);
    descriptor.annotations.erase(kContainerdName);
    index.manifests.push_back(std::move(descriptor));
  }
  std::string json = index.ToJson();
  return std::optional(FoundIndex{std::move(json), std::move(index)});
}

// Statements about another image, which buildkit lists beside it.
bool IsAttestation(const Descriptor& descriptor) {
  return descriptor.annotations.contains("vnd.docker.reference.type");
}

// All images of an index whose manifests are in the layout.
Result<ImportedImage> ImportIndex(const ImportContext& context, ImageFiles& files, FoundIndex found,
                                  const std::vector<Reference>& names) {
  NewIndex all;
  Index present;
  for (const Descriptor& descriptor : found.index.manifests) {
    if (IsAttestation(descriptor)) continue;
    STRATA_TRY_ASSIGN(const bool there, files.Has(BlobName(descriptor.digest)));
    if (!there) continue;
    if (media_type::IsIndex(descriptor.media_type)) {
      return Fail(EINVAL, "OCI layout", "an index lists another, " + descriptor.digest.ToString());
    }
    STRATA_TRY_ASSIGN(FoundManifest manifest, FindManifest(context, files, descriptor));
    STRATA_TRY_ASSIGN(NewImage image, BringIn(context, files, std::move(manifest)));
    all.images.push_back(std::move(image));
    present.manifests.push_back(descriptor);
  }
  if (all.images.empty()) return Fail(EINVAL, "OCI layout", "has no image of its index");
  const auto here = SelectPlatform(present, context.options.platform);
  const Digest shown = here ? here->digest : present.manifests.front().digest;
  while (present.manifests[all.named].digest != shown) ++all.named;
  all.json = std::move(found.json);
  all.media_type = found.index.media_type;
  for (const Reference& name : names) all.names.push_back(name.WithDefaultTag());
  STRATA_TRY_ASSIGN(Image put, context.store.images().PutIndex(all));
  return ImportedImage{std::move(put), std::move(all.names)};
}

// What stands behind one or several names of the layout.
struct Chosen {
  Descriptor descriptor;            // of a manifest, or of an index that leads to one
  std::optional<FoundIndex> index;  // of all platforms, if they are asked for
  std::vector<std::string> names;
};

Result<std::map<Digest, Chosen>> Choose(const ImportContext& context, ImageFiles& files,
                                        const Index& index) {
  std::map<Digest, Chosen> chosen;
  for (const Index& group : GroupByName(index)) {
    Chosen one;
    if (context.options.all_platforms) {
      STRATA_TRY_ASSIGN(one.index, FindIndex(files, group));
    }
    Digest digest;
    if (one.index) {
      digest = Digest::Of(one.index->json);
    } else {
      STRATA_TRY_ASSIGN(one.descriptor, SelectOne(group, context.options.platform));
      digest = one.descriptor.digest;
    }
    Chosen& image = chosen.try_emplace(digest, std::move(one)).first->second;
    if (std::string name = NameOf(group.manifests.front()); !name.empty()) {
      image.names.push_back(std::move(name));
    }
  }
  return chosen;
}

}  // namespace

Result<std::vector<ImportedImage>> ImportOciLayout(const ImportContext& context,
                                                   ImageFiles& files) {
  STRATA_TRY_ASSIGN(const std::string layout, files.Read("oci-layout", kManifestBytesMax));
  STRATA_TRY(CheckOciLayout(layout));
  STRATA_TRY_ASSIGN(const std::string index_json, files.Read("index.json", kManifestBytesMax));
  STRATA_TRY_ASSIGN(const Index index, ParseIndex(index_json, media_type::kOciIndex));
  if (index.manifests.empty()) return Fail(EINVAL, "OCI layout", "has no images");
  STRATA_TRY_ASSIGN(auto chosen, Choose(context, files, index));
  if (context.options.name && chosen.size() > 1) {
    return Fail(EINVAL, "OCI layout", "has several images, so they can not all get one name");
  }
  std::vector<ImportedImage> images;
  for (auto& [digest, one] : chosen) {
    STRATA_TRY_ASSIGN(const auto names, NamesFor(context, one.names));
    if (one.index) {
      STRATA_TRY_ASSIGN(ImportedImage image,
                        ImportIndex(context, files, *std::move(one.index), names));
      images.push_back(std::move(image));
      continue;
    }
    STRATA_TRY_ASSIGN(FoundManifest found, FindManifest(context, files, std::move(one.descriptor)));
    STRATA_TRY_ASSIGN(NewImage image, BringIn(context, files, std::move(found)));
    STRATA_TRY_ASSIGN(ImportedImage put, Put(context, std::move(image), names));
    images.push_back(std::move(put));
  }
  return images;
}

}  // namespace strata::layerstore
