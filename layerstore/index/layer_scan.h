// Indexes one layer directory.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "base/error.h"
#include "base/file_ops.h"
#include "layerstore/index/index_writer.h"

namespace strata::layerstore {

// What is known of a layer besides what its directory tells.
struct ScanHints {
  // Whether the names of an inode in the layer are those of one file. Without this function they
  // are; with it, names for which it says no are files that merely have the same inode.
  std::function<bool(ino_t)> is_link_group = nullptr;
  // The layer's files may come to have their inodes together with files of other layers.
  bool will_share = false;
  // May say no only of inodes without extended attributes. Without it, all are asked for them.
  std::function<bool(ino_t)> may_have_xattrs = nullptr;
};

// Writes the layer index of the directory open at `root` (not O_PATH), which the index will
// name `path`. Whiteouts, opaque and redirect marks in all their forms (docs/formats/upper.md) are
// resolved; `user_marks`: marks are read from user.overlay.* instead of trusted.overlay.*. Walks
// with one descriptor for each level of depth. EINVAL for a mark that no overlay writes; the first
// error of a file system call. Changes nothing, access times included where the caller owns the
// layer or is root.
Result<> ScanLayer(FileOps& files, int root, const std::string& path, bool user_marks,
                   const IndexFile& to, const ScanHints& hints = {});

}  // namespace strata::layerstore
