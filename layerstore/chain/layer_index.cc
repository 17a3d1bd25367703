#include "layerstore/chain/layer_index.h"

#include "base/privileges.h"
#include "base/try.h"
#include "base/unique_fd.h"
#include "layerstore/index/layer_scan.h"
#include "layerstore/objects/object_list.h"

namespace strata::layerstore {

bool UserMarks() { return !HoldsGlobalAdmin(); }

Result<bool> SharesFiles(FileOps& ops, int layer_dir) {
  const auto list = ops.StatAt(layer_dir, ObjectListWriter::kFileName);
  if (list || list.error().code() == ENOENT) return list.has_value();
  return Fail(list.error().code(), "layer", ObjectListWriter::kFileName);
}

Result<> WriteLayerIndex(FileOps& ops, int layer_dir, const UnpackedInodes& inodes) {
  ScanHints hints;
  if (!inodes.linked.overflowed()) {
    hints.is_link_group = [&](ino_t inode) { return inodes.linked.Contains(inode); };
  }
  if (!inodes.with_xattrs.overflowed()) {
    hints.may_have_xattrs = [&](ino_t inode) { return inodes.with_xattrs.Contains(inode); };
  }
  STRATA_TRY_ASSIGN(hints.will_share, SharesFiles(ops, layer_dir));
  STRATA_TRY_ASSIGN(const UniqueFd fs,
                    ops.Open(layer_dir, "fs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  constexpr mode_t kPrivate = 0600;
  STRATA_TRY_ASSIGN(const UniqueFd file,
                    ops.Open(layer_dir, "index", O_WRONLY | O_CREAT | O_EXCL, kPrivate));
  return ScanLayer(ops, fs.get(), "fs", UserMarks(), {file.get(), layer_dir}, hints);
}

}  // namespace strata::layerstore
