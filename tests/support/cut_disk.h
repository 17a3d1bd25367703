// A filesystem on a loop device whose power can be cut: from that moment nothing reaches the disk
// any more, neither data nor the journal's open transaction, and the next mount recovers as after a
// real crash. What it cannot show is a disk that loses its own cache.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "tests/support/temp_root.h"

namespace strata::support {

enum class DiskFormat {
  kExt4,  // with a journal
  kExt4NoJournal,
  kXfs,
};

std::string_view DiskFormatName(DiskFormat format);
bool KernelHasDiskFormat(DiskFormat format);
// Whether bytes that were appended to a file, but not synced, may be zeros after a cut: ext4 logs
// the new size at once where they fit into the file's last block, and writes that block later.
bool MayZeroAppendedBytes(DiskFormat format);

// Takes memory as it is filled. The mounts go with the root, which has to outlive it. Move-only.
class CutDisk {
 public:
  // One disk below `root`, mounted nowhere yet.
  static Result<CutDisk> Create(const TempRoot& root);

  // Makes an empty filesystem on it and mounts that.
  Result<> Format(DiskFormat format);
  // Fails every later write. Files stay open, and the mount stays.
  Result<> Cut();
  // Unmounts, repairs what has no journal, and mounts again. Nothing may be open on it; waits for
  // the kernel to let go of what a killed process had.
  Result<> Recover();
  Result<> Unmount();

  // Where it is mounted.
  const std::string& path() const { return mount_point_; }

 private:
  Result<> Mount();

  std::string image_;
  std::string mount_point_;
  DiskFormat format_ = DiskFormat::kExt4;
};

}  // namespace strata::support
