// WORKDIR/work/incompat/volatile: the mark of an upper layer that nobody synced, as kernel
// overlayfs leaves it (linux: ovl_create_volatile_dirty()). Whatever is in incompat/ keeps others
// from using the upper until somebody has looked at it.
#pragma once

#include "base/error.h"
#include "base/file_ops.h"

namespace strata::fusefs {

inline constexpr char kIncompatName[] = "incompat";

// `staging` is WORKDIR/work in all of these.

// EINVAL if there is a mark, or one of something else.
Result<> CheckUnmarked(FileOps& files, int staging);
// Puts it there, and on the disk: it must be found even if nothing written afterwards is.
Result<> SetVolatileMark(FileOps& files, int work_root, int staging);
// Brings all of the filesystem to the disk and takes the mark away. An error of writing back since
// `work_root` was opened is one here, too, and leaves the mark.
Result<> SyncAndClearVolatileMark(FileOps& files, int work_root, int staging);

}  // namespace strata::fusefs
