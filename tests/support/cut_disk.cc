#include "tests/support/cut_disk.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include <cstdint>

#include "base/try.h"
#include "base/unique_fd.h"
#include "tests/support/process.h"

namespace strata::support {
namespace {

// The same call on ext4 and XFS (linux: fs/ext4/ext4.h, fs/xfs/libxfs/xfs_fs.h).
constexpr unsigned long kShutdown = _IOR('X', 125, std::uint32_t);
constexpr std::uint32_t kWithoutLogFlush = 2;

}  // namespace

bool MayZeroAppendedBytes(Filesystem type) { return type != Filesystem::kXfs; }

Result<CutDisk> CutDisk::Create(const TempRoot& root) {
  STRATA_TRY_ASSIGN(TestDisk disk, TestDisk::Prepare(root, "cut-disk"));
  return CutDisk(std::move(disk));
}

Result<> CutDisk::Format(Filesystem type) {
  STRATA_TRY(disk_.Format(type));
  return Mount();
}

Result<> CutDisk::Mount() {
  // A commit at least every second, as a busy machine's neighbours would cause.
  return disk_.Mount(disk_.type() == Filesystem::kExt4 ? "commit=1" : "");
}

Result<> CutDisk::Cut() {
  const UniqueFd fd(::open(path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return FailErrno("open", path());
  std::uint32_t flags = kWithoutLogFlush;
  if (::ioctl(fd.get(), kShutdown, &flags) != 0) return FailErrno("shutdown", path());
  return {};
}

Result<> CutDisk::Recover() {
  STRATA_TRY(disk_.Unmount());
  if (disk_.type() == Filesystem::kExt4NoJournal) {
    constexpr int kCorrected = 1;
    STRATA_TRY(RunTool({"e2fsck", "-fy", disk_.image()}, kCorrected));
  }
  return Mount();
}

}  // namespace strata::support
