// Indexes one layer directory.
#pragma once

#include <string>

#include "base/error.h"
#include "base/file_ops.h"

namespace strata::layerstore {

// The bytes of the layer index of the directory open at `root` (not O_PATH), which the index will
// name `path`. Whiteouts, opaque and redirect marks in all their forms (docs/formats/upper.md) are
// resolved; `user_marks`: marks are read from user.overlay.* instead of trusted.overlay.*. Walks
// with one descriptor for each level of depth. EINVAL for a mark that no overlay writes; the first
// error of a file system call. Changes nothing, access times included where the caller owns the
// layer or is root.
Result<std::string> ScanLayer(FileOps& files, int root, const std::string& path, bool user_marks);

}  // namespace strata::layerstore
