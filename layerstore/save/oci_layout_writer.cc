#include <algorithm>
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

// An entry for each name, as docker and containerd have them.
void AddNamed(const Descriptor& descriptor, std::span<const Reference> names, Index& index) {
  for (const Reference& name : names) {
    Descriptor named = descriptor;
    named.annotations[kContainerdName] = name.ToString();
    named.annotations[kRefName] = name.tag().value_or(std::string(kDefaultTag));
    index.manifests.push_back(std::move(named));
  }
}

bool IsMember(const SavedImage& image, std::span<const SavedIndex> indexes) {
  return std::ranges::any_of(indexes, [&](const SavedIndex& index) {
    const auto& members = index.index.members;
    return std::ranges::find(members, image.detail.image.id, &ImageIndex::Member::image) !=
           members.end();
  });
}

// The entries of an image in the layout's index: of the names that do not stand for more, and one
// without a name if nothing else leads to it.
void AddImage(const SavedImage& image, std::span<const SavedIndex> indexes,
              const Descriptor& manifest, Index& layout) {
  std::vector<Reference> names = image.names;
  for (const SavedIndex& index : indexes) {
    std::erase_if(names, [&](const Reference& name) {
      return std::ranges::find(index.names, name) != index.names.end();
    });
  }
  AddNamed(manifest, names, layout);
  if (names.empty() && !IsMember(image, indexes)) layout.manifests.push_back(manifest);
}

// The index itself, as it came if all it lists is here as it was; else one that lists what is here.
Result<Descriptor> AddIndex(const ImageIndex& saved, const std::map<Digest, Descriptor>& manifests,
                            Blobs& blobs) {
  STRATA_TRY_ASSIGN(Index index, ParseIndex(saved.json, saved.media_type));
  bool same = true;
  std::vector<Descriptor> present;
  for (Descriptor& descriptor : index.manifests) {
    const auto member =
        std::ranges::find(saved.members, descriptor.digest, &ImageIndex::Member::manifest);
    if (member == saved.members.end()) {
      same = false;
      continue;
    }
    const Descriptor& manifest = manifests.at(member->image);
    same = same && manifest.digest == descriptor.digest;
    descriptor.digest = manifest.digest;
    descriptor.size = manifest.size;
    descriptor.media_type = manifest.media_type;
    present.push_back(std::move(descriptor));
  }
  Descriptor result;
  result.media_type = same ? saved.media_type : std::string(media_type::kOciIndex);
  std::string json = saved.json;
  if (!same) {
    index.media_type = result.media_type;
    index.manifests = std::move(present);
    json = index.ToJson();
  }
  result.digest = Digest::Of(json);
  result.size = json.size();
  blobs.small[result.digest] = std::move(json);
  return result;
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

Result<> WriteOciLayout(std::span<const SavedImage> images, std::span<const SavedIndex> indexes,
                        bool with_docker_manifest, const ByteSink& sink) {
  Index index;
  index.media_type = std::string(media_type::kOciIndex);
  Blobs blobs;
  std::vector<DockerArchiveImage> docker;
  std::map<Digest, Descriptor> manifests;  // by image
  for (const SavedImage& image : images) {
    STRATA_TRY_ASSIGN(const Descriptor manifest, AddManifest(image, blobs));
    AddImage(image, indexes, manifest, index);
    manifests[image.detail.image.id] = manifest;
    // docker has no use for images of other platforms that no name leads to.
    if (!image.names.empty() || !IsMember(image, indexes)) docker.push_back(DockerEntry(image));
  }
  for (const SavedIndex& saved : indexes) {
    STRATA_TRY_ASSIGN(const Descriptor descriptor, AddIndex(saved.index, manifests, blobs));
    AddNamed(descriptor, saved.names, index);
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
