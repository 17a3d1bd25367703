// The merge of a directory's names over its layers, done once when the directory is first used.
#pragma once

#include <unordered_map>
#include <vector>

#include "base/file_ops.h"
#include "fusefs/union/directory.h"

namespace strata::fusefs {

// Adds layer after layer, topmost first, to an empty name table. Not thread-safe.
class DirectoryMerge {
 public:
  DirectoryMerge(FileOps& files, NameTable& names) : files_(files), names_(names) {}

  // Reads one layer's part (a descriptor of its own position). True if that part hides all below it
  // (`.wh..wh..opq`).
  Result<bool> Add(LayerIndex layer, int fd);
  // The same for the part of all layers of a chain.
  Result<> AddChain(const Layers& layers, ChainDirectory directory);
  // Drops what only served the merge. Nothing may be added afterwards.
  void Finish();

 private:
  // What later layers may still do to a name.
  struct Open {
    std::vector<LayerIndex> merged;  // layers of a directory found so far
    bool closed = false;             // nothing below shows
    bool lower_decided = false;      // the upper entry's lower_exists is known
  };

  void AddName(LayerIndex layer, std::string_view name, unsigned char type);
  void AddWhiteout(LayerIndex layer, std::string_view name, bool marker);

  FileOps& files_;
  NameTable& names_;
  std::unordered_map<NameTable::Slot, Open> open_;
  std::vector<NameTable::Slot> lower_whiteouts_;
};

}  // namespace strata::fusefs
