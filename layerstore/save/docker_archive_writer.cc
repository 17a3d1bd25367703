#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "base/try.h"
#include "layerstore/oci/archive_manifest.h"
#include "layerstore/oci/image_config.h"
#include "layerstore/save/archive_members.h"
#include "layerstore/save/saved_image.h"

namespace strata::layerstore {
namespace {

// A layer as dockers before 1.10 know it: a directory with its JSON and its tar. They have no
// images beside layers, so the top one is not the same in images with other configurations.
struct LegacyLayer {
  LegacyImage image;
  std::shared_ptr<const LayerForm> form;
};

class DockerArchive {
 public:
  void Add(const SavedImage& image) {
    const ImageConfig& config = image.detail.config;
    const std::vector<Digest> chain = ChainIds(image.detail.image.diff_ids);
    const std::string id = image.detail.image.id.Hex();
    DockerArchiveImage entry;
    entry.config = id + ".json";
    configs_[entry.config] = image.detail.config_json;
    std::string parent;
    for (std::size_t i = 0; i < chain.size(); ++i) {
      const bool top = i + 1 == chain.size();
      const std::string name =
          top ? Digest::Of(chain[i].ToString() + ' ' + image.detail.image.id.ToString()).Hex()
              : chain[i].Hex();
      LegacyLayer layer{{}, image.layers[i]};
      layer.image.parent = std::exchange(parent, name);
      if (top) {
        layer.image.config = config;
      } else {
        layer.image.config.platform = config.platform;
      }
      layers_.try_emplace(name, std::move(layer));
      entry.layers.push_back(name + "/layer.tar");
    }
    for (const Reference& name : image.names) {
      entry.repo_tags.push_back(name.Familiar());
      if (!parent.empty()) tags_.push_back({name.Familiar(), parent});
    }
    images_.push_back(std::move(entry));
  }

  Result<> Write(const ByteSink& sink) const {
    ArchiveMembers members(sink);
    STRATA_TRY(members.AddFile("manifest.json", DockerArchiveManifestJson(images_)));
    STRATA_TRY(members.AddFile("repositories", LegacyRepositoriesJson(tags_)));
    for (const auto& [name, json] : configs_) STRATA_TRY(members.AddFile(name, json));
    std::map<Digest, std::string> written;
    for (const auto& [name, layer] : layers_) {
      STRATA_TRY(members.AddDirectory(name));
      STRATA_TRY(members.AddFile(name + "/VERSION", "1.0"));
      STRATA_TRY(members.AddFile(name + "/json", layer.image.ToJson(name)));
      const PackedLayer& packed = layer.form->packed();
      const auto [first, added] = written.try_emplace(packed.digest, name);
      const std::string tar = name + "/layer.tar";
      STRATA_TRY(added ? members.AddFile(tar, packed.size,
                                         [&](const auto& take) { return layer.form->Stream(take); })
                       : members.AddSymlink(tar, "../" + first->second + "/layer.tar"));
    }
    return members.Finish();
  }

 private:
  std::vector<DockerArchiveImage> images_;
  std::vector<LegacyRepositoryTag> tags_;
  std::map<std::string, std::string> configs_;
  std::map<std::string, LegacyLayer> layers_;
};

}  // namespace

Result<> WriteDockerArchive(std::span<const SavedImage> images, const ByteSink& sink) {
  DockerArchive archive;
  for (const SavedImage& image : images) archive.Add(image);
  return archive.Write(sink);
}

}  // namespace strata::layerstore
