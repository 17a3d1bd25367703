// Merged indexes of chains of layers: chains/sha256/<chainID>/index, what `stratafs -o chain=`
// mounts.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "base/mutex.h"

namespace strata::layerstore {

class ChainMerge;
class MetadataIndex;
class StoreRoot;
struct IndexFile;

// Indexes are caches: whatever is missing, damaged or of other directories than those that are
// there now is made again from the layers, never used. Thread-safe; several processes may work on
// one store.
class ChainStore {
 public:
  // What is known of layers.
  struct Layers {
    // The store that has it; ENOENT.
    std::function<Result<const StoreRoot*>(const Digest& diff_id)> root_of;
    // How its marks were written (LayerInfo::user_marks), where that was recorded.
    std::function<std::optional<bool>(const Digest& diff_id)> user_marks;
  };

  ChainStore(StoreRoot& root, Layers layers) : root_(root), layers_(std::move(layers)) {}

  // The absolute path of the directory with the index of these layers (base first). By this object
  // every file is checked from end to end once; damage that comes later shows where it is read, and
  // here again if the file was written to. Made if need be, from the longest part of the chain that
  // has one. What is made for a read-only store is private to this object and goes with it
  // (StoreRoot::Scratch).
  Result<std::string> Ensure(std::span<const Digest> diff_ids);

  using IndexRef = std::shared_ptr<const MetadataIndex>;
  // The layers' own indexes, in the order given; checked and made as said of Ensure().
  Result<std::vector<IndexRef>> LayerIndexes(std::span<const Digest> diff_ids);

 private:
  struct Layer {
    Digest diff_id;
    const StoreRoot* root;  // where it is
  };
  using Chain = std::span<const Layer>;
  // How an index names its layers.
  enum class Paths : std::uint8_t { kFromIndex, kAbsolute };

  Result<std::vector<Layer>> Locate(std::span<const Digest> diff_ids) const;
  static Paths PathsIn(const StoreRoot& home, Chain chain);
  static std::string PathOf(const Layer& layer, Paths paths);
  // A chain's or layer's index, if it is whole and of these directories.
  Result<IndexRef> OpenChain(const StoreRoot& home, const Digest& chain_id, Chain chain,
                             Paths style);
  Result<IndexRef> OpenLayer(const Layer& layer);
  // In the layer's own store, or in `dir` under another name.
  Result<IndexRef> OpenLayerIndex(const Layer& layer, int dir, const std::string& name);
  Result<IndexRef> OpenOrMakeLayer(StoreRoot& home, const Layer& layer);
  Result<> ScanInto(const IndexFile& to, const Layer& layer);
  bool HasUserMarks(const Layer& layer);
  static Result<> CheckLayers(const MetadataIndex& index, Chain chain,
                              const std::vector<std::string>& paths);
  // `status` is that of the file with `index` in it.
  Result<> VerifyOnce(const MetadataIndex& index, const struct stat& status);
  // The chain's merge, ready to be written.
  Result<ChainMerge> Merge(StoreRoot& home, Chain chain, std::span<const Digest> chain_ids);
  // Has `write` write `name`/index in `dir` of `home`; durable when it returns.
  static Result<> Publish(StoreRoot& home, int dir, const std::string& name,
                          const std::function<Result<>(const IndexFile&)>& write);

  // A file as it was when it was checked.
  struct Checked {
    dev_t device;
    ino_t number;
    std::int64_t changed_seconds;
    std::int64_t changed_nanoseconds;
    auto operator<=>(const Checked&) const = default;
  };

  StoreRoot& root_;
  const Layers layers_;
  Mutex mu_;  // rank: leaf
  std::set<Checked> checked_ STRATA_GUARDED_BY(mu_);
};

}  // namespace strata::layerstore
