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
  // How a layer's marks were written (LayerInfo::user_marks), where that was recorded.
  using MarksOfLayer = std::function<std::optional<bool>(const Digest& diff_id)>;

  ChainStore(StoreRoot& root, MarksOfLayer marks) : root_(root), marks_(std::move(marks)) {}

  // The absolute path of the directory with the index of these layers (base first, all in the
  // store). By this object every file is checked from end to end once; damage that comes later
  // shows where it is read, and here again if the file was written to. Made if need be, from the
  // longest part of the chain that has one. EROFS if that is needed and the store is read-only.
  Result<std::string> Ensure(std::span<const Digest> diff_ids);

  using IndexRef = std::shared_ptr<const MetadataIndex>;
  // The layers' own indexes, in the order given; checked and made as said of Ensure().
  Result<std::vector<IndexRef>> LayerIndexes(std::span<const Digest> diff_ids);

 private:
  // A chain's or layer's index, if it is whole and of these directories.
  Result<IndexRef> OpenChain(const Digest& chain_id, std::span<const Digest> diff_ids);
  Result<IndexRef> OpenLayer(const Digest& diff_id);
  Result<IndexRef> OpenOrMakeLayer(const Digest& diff_id);
  bool HasUserMarks(const Digest& diff_id);
  Result<> CheckLayers(const MetadataIndex& index, std::span<const Digest> diff_ids,
                       const std::vector<std::string>& paths);
  // `status` is that of the file with `index` in it.
  Result<> VerifyOnce(const MetadataIndex& index, const struct stat& status);
  // The chain's merge, ready to be written.
  Result<ChainMerge> Merge(std::span<const Digest> diff_ids, std::span<const Digest> chain_ids);
  // Has `write` write `name`/index in `dir`; durable when it returns.
  Result<> Publish(int dir, const std::string& name,
                   const std::function<Result<>(const IndexFile&)>& write);

  // A file as it was when it was checked.
  struct Checked {
    ino_t number;
    std::int64_t changed_seconds;
    std::int64_t changed_nanoseconds;
    auto operator<=>(const Checked&) const = default;
  };

  StoreRoot& root_;
  const MarksOfLayer marks_;
  Mutex mu_;  // rank: leaf
  std::set<Checked> checked_ STRATA_GUARDED_BY(mu_);
};

}  // namespace strata::layerstore
