// The calls about inodes that are not in FileOps: they matter to no crash.
#pragma once

#include <time.h>

#include <cstddef>
#include <span>

#include "base/error.h"

namespace strata {

// statx(2)'s btime; O_PATH descriptors work, too. ENODATA where the filesystem has none.
Result<struct timespec> BirthTime(int fd);

// ioctl(2) FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IOC_FSGETXATTR and FS_IOC_FSSETXATTR; `argument`
// must be as large as the command's. ENOTTY where the filesystem has no flags.
Result<> InodeFlagsCall(int fd, unsigned command, std::span<std::byte> argument);

}  // namespace strata
