// Paths inside of a layer, which may be longer than one system call takes.
#pragma once

#include <string_view>

#include "base/error.h"
#include "base/file_ops.h"
#include "base/unique_fd.h"

namespace strata::fusefs {

// Opens what `path` names below `root` ("": the root itself), through no symbolic link.
Result<SharedFd> OpenLongPath(FileOps& files, int root, std::string_view path, int flags);

}  // namespace strata::fusefs
