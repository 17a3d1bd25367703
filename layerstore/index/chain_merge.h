// Merges layer indexes into the index of their chain.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "layerstore/index/metadata_index.h"

namespace strata::layerstore {

// Starts empty or with the index of a shorter chain; then layers are put on top, one by one. What a
// layer hides, moves and merges with is what the union makes of the same directories
// (docs/formats/upper.md). A layer costs what it holds and the lists of the directories it is in.
//
// All directories are values that never change: a layer makes new ones where it differs, and a
// redirect finds those of the layers below as they were. Keeps the indexes it is given; not
// thread-safe.
class ChainMerge {
 public:
  // EINVAL for one that is no chain.
  Result<> StartWith(std::shared_ptr<const MetadataIndex> chain);
  // Puts a layer on top; `path` is where the chain's index will name it. EINVAL if it is no layer
  // index or its marks are of the other kind; E2BIG for too many layers or levels.
  Result<> Add(std::shared_ptr<const MetadataIndex> layer, std::string path);
  // The bytes of the chain's index. E2BIG for a chain that redirects have made far larger than its
  // layers.
  Result<std::string> Finish() const;

 private:
  struct Directory;
  using DirectoryRef = std::shared_ptr<const Directory>;
  struct Name {
    std::string_view name;
    const MetadataIndex* source = nullptr;
    MetadataIndex::Number number = 0;  // in source
    std::uint16_t layer = 0;           // of the chain
    bool merged = false;
    DirectoryRef directory;  // null for what is none
  };
  struct Directory {
    std::vector<Name> names;  // sorted
    std::vector<MetadataIndex::Place> moves;
  };
  struct Layer {
    LayerProof proof;
    blksize_t block_size;
    std::string path;
  };
  // The part of a directory below the layer that is being added.
  struct Below {
    DirectoryRef directory;  // null: nothing
    std::string path;        // in the chain below
    std::vector<MetadataIndex::Place> moves;
  };
  class Layering;

  Result<DirectoryRef> Load(const MetadataIndex& chain, MetadataIndex::Directory directory,
                            int depth);
  static const Name* Find(const Directory& directory, std::string_view name);

  std::vector<std::shared_ptr<const MetadataIndex>> sources_;
  std::vector<Layer> layers_;
  Name root_;
  std::uint64_t names_given_ = 0;  // in all sources
  bool user_marks_ = false;
};

}  // namespace strata::layerstore
