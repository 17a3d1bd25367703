// Copying between two open files by reading and writing.
#pragma once

#include <sys/types.h>

#include "base/error.h"
#include "base/file_ops.h"

namespace strata {

// Copies the bytes from `begin` up to `end` to the same place in `to`. Returns where it ended:
// before `end` if `from` does. Holes become zeros. Takes up to 1 MiB of memory.
Result<off_t> CopyBytes(FileOps& ops, int from, int to, off_t begin, off_t end);

}  // namespace strata
