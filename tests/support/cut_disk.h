// A filesystem on a loop device whose power can be cut: from that moment nothing reaches the disk
// any more, neither data nor the journal's open transaction, and the next mount recovers as after a
// real crash. What it cannot show is a disk that loses its own cache.
#pragma once

#include <string>
#include <utility>

#include "base/error.h"
#include "tests/support/temp_root.h"
#include "tests/support/test_disk.h"

namespace strata::support {

// Whether bytes that were appended to a file, but not synced, may be zeros after a cut: ext4 logs
// the new size at once where they fit into the file's last block, and writes that block later.
bool MayZeroAppendedBytes(Filesystem type);

// One of ext4 or XFS. The mounts go with the root, which has to outlive it. Move-only.
class CutDisk {
 public:
  // One disk below `root`, mounted nowhere yet.
  static Result<CutDisk> Create(const TempRoot& root);

  // Makes an empty filesystem on it and mounts that.
  Result<> Format(Filesystem type);
  // Fails every later write. Files stay open, and the mount stays.
  Result<> Cut();
  // Unmounts, repairs what has no journal, and mounts again. Nothing may be open on it; waits for
  // the kernel to let go of what a killed process had.
  Result<> Recover();
  Result<> Unmount() { return disk_.Unmount(); }

  // Where it is mounted.
  const std::string& path() const { return disk_.path(); }

 private:
  explicit CutDisk(TestDisk disk) : disk_(std::move(disk)) {}
  Result<> Mount();

  TestDisk disk_;
};

}  // namespace strata::support
