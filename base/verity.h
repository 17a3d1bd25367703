// fs-verity(7): files whose bytes the kernel checks against a tree of hashes whenever they are read
// from the disk. Not in FileOps: what a crash leaves of it is a file with or without it, whatever
// the calls before and after; what the kernel refuses afterwards only a kernel that has it shows.
#pragma once

#include "base/error.h"

namespace strata {

// ioctl(2) FS_IOC_ENABLE_VERITY with SHA-256 and blocks of 4 KiB. `fd`, open for reading alone, is
// a regular file that nobody has open for writing (ETXTBSY); it can not be written any more
// afterwards. EEXIST: it has it; EBUSY: somebody else is about to. ENOTTY or EOPNOTSUPP where the
// filesystem lacks it; EACCES unless the caller may write the file.
Result<> EnableVerity(int fd);

// Whether dir/name, which is not followed if it is a symbolic link, has it; `name` may be empty for
// `dir` itself. No where the filesystem lacks it.
Result<bool> HasVerity(int dir, const char* name);

// Whether an error of opening or reading a file that is there says that what the disk holds of it
// is damaged.
bool IsDamage(int code);

}  // namespace strata
