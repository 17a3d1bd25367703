// The images of the stores below the own one (docs/formats/store.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "base/error.h"

namespace strata::layerstore {

class Connection;
class ImageStore;
class Reference;
struct Image;
struct ImageDetail;
struct ImageIndex;

// A layer as a store below records it.
struct LayerBelow {
  std::string store;       // its root
  std::uint64_t size = 0;  // bytes of file content
};

// Asked in their order, the first that knows answers. Thread-safe. All of it may be called within a
// transaction of the own store: that lock comes first.
class ImagesBelow {
 public:
  struct Store {
    std::string root;
    ImageStore* images;
  };
  ImagesBelow() = default;
  explicit ImagesBelow(std::vector<Store> stores) : stores_(std::move(stores)) {}

  // By the rules of ImageStore::Resolve(). Nothing: no store has such an image.
  Result<std::optional<Digest>> Resolve(std::string_view name_or_id) const;
  // Without its other names: see AddNames(). Nothing: no store has it.
  Result<std::optional<ImageDetail>> Inspect(const Digest& id) const;
  // The root of the first store that has the name.
  Result<std::optional<std::string>> StoreOfName(const Reference& name) const;
  // The root of the first store that has the image.
  Result<std::optional<std::string>> StoreOfImage(const Digest& id) const;
  // What a name with a tag stands for in the first store that has it.
  Result<std::optional<ImageIndex>> IndexOf(const Reference& name) const;
  Result<std::optional<LayerBelow>> FindLayer(const Digest& diff_id) const;

  // Adds to `own`, all images of the own store, those below, newest first.
  Result<> AddImages(std::vector<Image>& own) const;
  // Gives an image the names it has below that no store above has; `own` is the uppermost. If it is
  // not one of `own`, its names are those that it has below.
  Result<> AddNames(ImageStore& own, Image& image) const;

 private:
  std::vector<Store> stores_;
};

// Notes that a layer that is needed here is in a store below.
Result<> RecordLayerBelow(Connection& connection, const Digest& diff_id, const std::string& store);

}  // namespace strata::layerstore
