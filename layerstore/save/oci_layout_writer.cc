#include <map>
#include <string>
#include <utility>

#include "base/try.h"
#include "layerstore/oci/archive_manifest.h"
#include "layerstore/oci/manifest.h"
#include "layerstore/oci/media_types.h"
#include "layerstore/save/archive_members.h"
#include "layerstore/save/saved_image.h"

namespace strata::layerstore {
namespace {

constexpr const char* kRefName = "org.opencontainers.image.ref.name";
constexpr const char* kContainerdName = "io.containerd.image.name";

std::string BlobName(const Digest& digest) { return "blobs/sha256/" + digest.Hex(); }

// Everything in blobs/, sorted by name.
struct Blobs {
  std::map<Digest, std::string> small;
  std::map<Digest, std::shared_ptr<const LayerForm>> layers;
};

// The entries of one image in the index: one for each of its names, as docker and containerd do.
void AddToIndex(const SavedImage& image, const Descriptor& manifest, Index& index) {
  if (image.names.empty()) index.manifests.push_back(manifest);
  for (const Reference& name : image.names) {
    Descriptor named = manifest;
    named.annotations[kContainerdName] = name.ToString();
    named.annotations[kRefName] = name.tag().value_or(std::string(kDefaultTag));
    index.manifests.push_back(std::move(named));
  }
}

Result<Descriptor> AddManifest(const SavedImage& image, Blobs& blobs) {
  std::vector<PackedLayer> layers;
  for (const auto& layer : image.layers) layers.push_back(layer->packed());
  // Readers of layouts expect OCI's words there, skopeo and umoci insist on them.
  STRATA_TRY_ASSIGN(RepackedManifest manifest,
                    RepackManifest(image.detail, layers, ManifestKind::kOci));
  Descriptor descriptor;
  descriptor.media_type = manifest.media_type;
  descriptor.digest = Digest::Of(manifest.json);
  descriptor.size = manifest.json.size();
  descriptor.platform = image.detail.config.platform;
  blobs.small[descriptor.digest] = std::move(manifest.json);
  blobs.small[image.detail.image.id] = image.detail.config_json;
  for (const auto& layer : image.layers) blobs.layers[layer->packed().digest] = layer;
  return descriptor;
}

DockerArchiveImage DockerEntry(const SavedImage& image) {
  DockerArchiveImage entry;
  entry.config = BlobName(image.detail.image.id);
  for (const Reference& name : image.names) entry.repo_tags.push_back(name.Familiar());
  for (const auto& layer : image.layers) entry.layers.push_back(BlobName(layer->packed().digest));
  return entry;
}

Result<> AddBlobs(const Blobs& blobs, ArchiveMembers& members) {
  STRATA_TRY(members.AddDirectory("blobs"));
  STRATA_TRY(members.AddDirectory("blobs/sha256"));
  auto small = blobs.small.begin();
  auto layer = blobs.layers.begin();
  while (small != blobs.small.end() || layer != blobs.layers.end()) {
    if (layer == blobs.layers.end() ||
        (small != blobs.small.end() && small->first < layer->first)) {
      STRATA_TRY(members.AddFile(BlobName(small->first), small->second));
      ++small;
    } else {
      const LayerForm& form = *layer->second;
      STRATA_TRY(members.AddFile(BlobName(layer->first), form.packed().size,
                                 [&](const auto& take) { return form.Stream(take); }));
      ++layer;
    }
  }
  return {};
}

}  // namespace

Result<> WriteOciLayout(std::span<const SavedImage> images, bool with_docker_manifest,
                        const ByteSink& sink) {
  Index index;
  index.media_type = std::string(media_type::kOciIndex);
  Blobs blobs;
  std::vector<DockerArchiveImage> docker;
  for (const SavedImage& image : images) {
    STRATA_TRY_ASSIGN(const Descriptor manifest, AddManifest(image, blobs));
    AddToIndex(image, manifest, index);
    docker.push_back(DockerEntry(image));
  }
  ArchiveMembers members(sink);
  STRATA_TRY(members.AddFile("oci-layout", OciLayoutJson()));
  STRATA_TRY(members.AddFile("index.json", index.ToJson()));
  if (with_docker_manifest) {
    STRATA_TRY(members.AddFile("manifest.json", DockerArchiveManifestJson(docker)));
  }
  STRATA_TRY(AddBlobs(blobs, members));
  return members.Finish();
}

}  // namespace strata::layerstore
