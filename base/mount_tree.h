// Descriptors to directory trees that cannot be written through.
#pragma once

#include <string>

#include "base/error.h"
#include "base/unique_fd.h"

namespace strata {

struct MountTree {
  UniqueFd fd;             // O_PATH directory descriptor
  bool read_only = false;  // nothing reached through `fd` can be written, whatever the open flags
};

// Opens `path` on a private, read-only clone of its mount (open_tree(2), mount_setattr(2)), which
// keeps nosuid and nodev as they are. Where the caller may not do that (EPERM, ENOSYS, EINVAL on an
// unbindable mount), the descriptor is an ordinary one and `read_only` is false. ENOENT or ENOTDIR
// name the path.
Result<MountTree> OpenReadOnlyTree(const std::string& path);

}  // namespace strata
