// Merged indexes of chains of layers: chains/sha256/<chainID>/index, what `stratafs -o chain=`
// mounts.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/error.h"

namespace strata::layerstore {

class MetadataIndex;
class StoreRoot;

// Indexes are caches: whatever is missing, damaged or of other directories than those that are
// there now is made again from the layers, never used. Thread-safe; several processes may work on
// one store.
class ChainStore {
 public:
  explicit ChainStore(StoreRoot& root) : root_(root) {}

  // The absolute path of the directory with the index of these layers (base first, all in the
  // store), which is checked from end to end. Made if need be, from the longest part of the chain
  // that has one. EROFS if that is needed and the store is read-only.
  Result<std::string> Ensure(std::span<const Digest> diff_ids);

 private:
  using IndexRef = std::shared_ptr<const MetadataIndex>;

  // A chain's or layer's index, if it is whole and of these directories.
  Result<IndexRef> OpenChain(const Digest& chain_id, std::span<const Digest> diff_ids);
  Result<IndexRef> OpenLayer(const Digest& diff_id);
  Result<IndexRef> OpenOrMakeLayer(const Digest& diff_id);
  Result<> CheckLayers(const MetadataIndex& index, std::span<const Digest> diff_ids,
                       const std::vector<std::string>& paths);
  Result<std::string> Build(std::span<const Digest> diff_ids, std::span<const Digest> chain_ids);
  // Writes `bytes` to `name`/index in `dir`; durable when it returns.
  Result<> Publish(int dir, const std::string& name, const std::string& bytes);

  StoreRoot& root_;
};

}  // namespace strata::layerstore
