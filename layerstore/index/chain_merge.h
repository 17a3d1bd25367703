// Merges layer indexes into the index of their chain.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/file_ops.h"
#include "layerstore/index/index_writer.h"
#include "layerstore/index/metadata_index.h"
#include "layerstore/index/name_merge.h"

namespace strata::layerstore {

// Starts empty or with the index of a shorter chain; then layers are put on top, one by one. What a
// layer hides, moves and merges with is what the union makes of the same directories
// (docs/formats/upper.md).
//
// Nothing is merged before Finish(), and then one directory after the other: memory does not grow
// with what the layers hold. Keeps the indexes it is given; not thread-safe.
class ChainMerge {
 public:
  // EINVAL for one that is no chain.
  Result<> StartWith(std::shared_ptr<const MetadataIndex> chain);
  // Puts a layer on top; `path` is where the chain's index will name it. EINVAL if it is no layer
  // index or its marks are of the other kind; E2BIG for too many layers.
  Result<> Add(std::shared_ptr<const MetadataIndex> layer, std::string path);
  // Writes the chain's index. E2BIG for too many levels, and for a chain that redirects have made
  // far larger than its layers.
  Result<> Finish(FileOps& files, const IndexFile& to) const;

 private:
  // A layer, or the chain that was there before.
  struct Source {
    std::shared_ptr<const MetadataIndex> index;
    std::uint16_t layer = 0;  // of the chain; of a chain, its lowest
    bool opaque = false;      // nothing below it shows at all
    bool is_chain() const { return index->kind() == MetadataIndex::Kind::kChain; }
  };
  // What one of the sources has of a directory.
  struct Part {
    std::uint32_t source = 0;
    MetadataIndex::Directory directory = MetadataIndex::kRoot;
    // Where the sources below have the directory, if not where it is in the whole chain.
    std::shared_ptr<const std::string> path;
  };
  struct Directory {
    std::vector<Part> parts;                  // topmost first
    std::vector<MetadataIndex::Place> moves;  // of the sources below the first redirect
    std::string path;
  };
  using Found = NameMerge::Found;
  struct Layer {
    LayerProof proof;
    blksize_t block_size;
    std::string path;
  };
  class Merger;

  std::vector<Source> sources_;  // base first
  std::vector<Layer> layers_;
  std::uint64_t names_given_ = 0;  // in all sources
  bool user_marks_ = false;
};

}  // namespace strata::layerstore
