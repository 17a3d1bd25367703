// An ext4 filesystem in memory: a real filesystem's semantics without a disk's latency in each
// fsync, for tests that make thousands of them.
#pragma once

#include <string>

#include "base/error.h"
#include "tests/support/temp_root.h"

namespace strata::support {

// Mounts one of `mebibytes` below `root` and returns where. Takes memory as it is filled; goes with
// the root.
Result<std::string> MountRamDisk(const TempRoot& root, int mebibytes);

}  // namespace strata::support
