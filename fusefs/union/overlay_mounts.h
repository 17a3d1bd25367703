// What the kernel's own overlay mounts use.
#pragma once

#include <sys/stat.h>

#include <string>

#include "base/error.h"

namespace strata::fusefs {

// EBUSY naming the directory if a kernel overlayfs mounted in this mount namespace has `upper` or
// `work` as its upperdir or workdir (linux: fs/overlayfs/params.c shows both in mountinfo). Two
// that write one upper layer destroy it.
Result<> CheckUnusedByOverlay(const struct stat& upper, const std::string& upper_path,
                              const struct stat& work, const std::string& work_path);

}  // namespace strata::fusefs
