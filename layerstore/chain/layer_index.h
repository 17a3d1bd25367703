// The index beside each layer directory: layers/sha256/<diffID>/index.
#pragma once

#include "base/error.h"
#include "base/file_ops.h"
#include "layerstore/archive/inode_set.h"

namespace strata::layerstore {

// The kind of marks this process's layers have: whether user.overlay.*, as without root's rights.
bool UserMarks();

// Whether files of the layer are objects: another layer may come to have the same inode any time.
// Borrows `layer_dir`, which holds "fs".
Result<bool> SharesFiles(FileOps& ops, int layer_dir);

// Writes the index of a layer that is not published yet: of `layer_dir`/fs into `layer_dir`/index,
// with the help of what its unpacker knows.
// durability: with the layer, which is synced as a whole.
Result<> WriteLayerIndex(FileOps& ops, int layer_dir, const UnpackedInodes& inodes);

}  // namespace strata::layerstore
