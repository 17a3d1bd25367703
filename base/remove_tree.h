// Removing a directory tree without following anything out of it.
#pragma once

#include "base/error.h"
#include "base/file_ops.h"

namespace strata {

// Removes `name` in `dir`, whatever it is, with all below. Works by descriptors, never follows a
// symbolic link and never enters a mount: EXDEV names the mount point, and EBUSY says the tree is
// one. Any depth; at most kRemoveDepthMax descriptors at a time: what lies deeper is
// first moved up next to `name`. Not there, or removed by somebody else meanwhile: success.
Result<> RemoveTree(FileOps& ops, int dir, const char* name);

inline constexpr int kRemoveDepthMax = 64;

}  // namespace strata
