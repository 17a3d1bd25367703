#include "tests/support/cut_disk.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <vector>

#include "base/try.h"
#include "base/unique_fd.h"
#include "tests/support/process.h"

namespace strata::support {
namespace {

// The same call on ext4 and XFS (linux: fs/ext4/ext4.h, fs/xfs/libxfs/xfs_fs.h).
constexpr unsigned long kShutdown = _IOR('X', 125, std::uint32_t);
constexpr std::uint32_t kWithoutLogFlush = 2;
// mkfs.xfs makes none below 300 MiB, mkfs.ext4 takes blocks of 1 KiB below 512 MiB.
constexpr off_t kDiskSize = off_t{600} << 20;
constexpr int kAttempts = 2'000;
constexpr useconds_t kPause = 5'000;

std::vector<std::string> FormatCommand(DiskFormat format) {
  switch (format) {
    case DiskFormat::kExt4:
      return {"mkfs.ext4", "-q", "-F"};
    case DiskFormat::kExt4NoJournal:
      return {"mkfs.ext4", "-q", "-F", "-O", "^has_journal"};
    case DiskFormat::kXfs:
      break;
  }
  return {"mkfs.xfs", "-q", "-f"};
}

const char* KernelName(DiskFormat format) { return format == DiskFormat::kXfs ? "xfs" : "ext4"; }

Result<> MakeEmpty(const std::string& file, off_t size) {
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) return FailErrno("open", file);
  if (::ftruncate(fd.get(), size) != 0) return FailErrno("ftruncate", file);
  return {};
}

bool HasLoopDevice(const std::string& image) {
  for (const auto& device : std::filesystem::directory_iterator("/sys/block")) {
    std::ifstream in(device.path() / "loop/backing_file");
    std::string file;
    if (std::getline(in, file) && file == image) return true;
  }
  return false;
}

}  // namespace

std::string_view DiskFormatName(DiskFormat format) {
  switch (format) {
    case DiskFormat::kExt4:
      return "ext4";
    case DiskFormat::kExt4NoJournal:
      return "ext4_no_journal";
    case DiskFormat::kXfs:
      break;
  }
  return "xfs";
}

bool KernelHasDiskFormat(DiskFormat format) {
  std::ifstream in("/proc/filesystems");
  for (std::string line; std::getline(in, line);) {
    if (line.substr(line.find('\t') + 1) == KernelName(format)) return true;
  }
  return false;
}

bool MayZeroAppendedBytes(DiskFormat format) { return format != DiskFormat::kXfs; }

Result<CutDisk> CutDisk::Create(const TempRoot& root) {
  CutDisk disk;
  STRATA_TRY_ASSIGN(const std::string memory, root.MakeDir("cut-disk"));
  STRATA_TRY_ASSIGN(disk.mount_point_, root.MakeDir("disk"));
  if (::mount("tmpfs", memory.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=700") != 0) {
    return FailErrno("mount", memory);
  }
  disk.image_ = memory + "/image";
  return disk;
}

Result<> CutDisk::Format(DiskFormat format) {
  format_ = format;
  STRATA_TRY(MakeEmpty(image_, kDiskSize));
  std::vector<std::string> command = FormatCommand(format);
  command.push_back(image_);
  STRATA_TRY(RunTool(command));
  return Mount();
}

Result<> CutDisk::Mount() {
  // A commit at least every second, as a busy machine's neighbours would cause.
  const std::string options = format_ == DiskFormat::kExt4 ? "loop,commit=1" : "loop";
  STRATA_TRY(RunTool({"mount", "-t", KernelName(format_), "-o", options, image_, mount_point_}));
  return {};
}

Result<> CutDisk::Cut() {
  const UniqueFd fd(::open(mount_point_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return FailErrno("open", mount_point_);
  std::uint32_t flags = kWithoutLogFlush;
  if (::ioctl(fd.get(), kShutdown, &flags) != 0) return FailErrno("shutdown", mount_point_);
  return {};
}

Result<> CutDisk::Unmount() {
  for (int attempt = 0; ::umount2(mount_point_.c_str(), UMOUNT_NOFOLLOW) != 0; ++attempt) {
    if (errno != EBUSY || attempt >= kAttempts) return FailErrno("umount2", mount_point_);
    ::usleep(kPause);
  }
  // The filesystem may outlive that mount: a clone of it that a process had goes a little later.
  for (int attempt = 0; HasLoopDevice(image_); ++attempt) {
    if (attempt >= kAttempts) return Fail(EBUSY, "unmount", mount_point_ + " is in use elsewhere");
    ::usleep(kPause);
  }
  return {};
}

Result<> CutDisk::Recover() {
  STRATA_TRY(Unmount());
  if (format_ == DiskFormat::kExt4NoJournal) {
    constexpr int kCorrected = 1;
    STRATA_TRY(RunTool({"e2fsck", "-fy", image_}, kCorrected));
  }
  return Mount();
}

}  // namespace strata::support
