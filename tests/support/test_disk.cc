#include "tests/support/test_disk.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <vector>

#include "base/try.h"
#include "base/unique_fd.h"
#include "tests/support/process.h"

namespace strata::support {
namespace {

constexpr int kAttempts = 2'000;
constexpr useconds_t kPause = 5'000;

constexpr std::size_t kFormats = 10;
struct Format {
  std::string_view name;
  const char* kernel_name;
  std::vector<std::string> make;  // the image follows; empty: it has none
};

const Format& FormatOf(Filesystem type) {
  // 256-byte inodes hold birth times.
  static const std::vector<std::string> ext4 = {"mkfs.ext4", "-q", "-F",    "-I",
                                                "256",       "-N", "65536", "-O"};
  static const auto with = [](std::vector<std::string> command, const char* last) {
    command.emplace_back(last);
    return command;
  };
  // By Filesystem.
  static const Format formats[kFormats] = {
      {"ext4", "ext4", with(ext4, "has_journal")},
      {"ext4_no_journal", "ext4", with(ext4, "^has_journal")},
      {"ext4_no_types", "ext4", with(ext4, "^filetype")},
      {"xfs", "xfs", {"mkfs.xfs", "-q", "-f"}},
      {"btrfs", "btrfs", {"mkfs.btrfs", "-q", "-f"}},
      {"tmpfs", "tmpfs", {}},
      {"ramfs", "ramfs", {}},
      {"vfat", "vfat", {"mkfs.vfat"}},
      {"erofs", "erofs", {"mkfs.erofs", "--quiet", "--preserve-mtime", "-Eforce-inode-extended"}},
      {"squashfs", "squashfs", {}},
  };
  return formats[static_cast<std::size_t>(type)];
}

bool InMemory(Filesystem type) { return type == Filesystem::kTmpfs || type == Filesystem::kRamfs; }

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

std::string_view FilesystemName(Filesystem type) { return FormatOf(type).name; }

Result<Filesystem> ParseFilesystem(std::string_view name) {
  for (std::size_t i = 0; i < kFormats; ++i) {
    const auto type = static_cast<Filesystem>(i);
    if (FilesystemName(type) == name) return type;
  }
  return Fail(EINVAL, "filesystem", std::string(name));
}

bool KernelHas(Filesystem type) {
  std::ifstream in("/proc/filesystems");
  for (std::string line; std::getline(in, line);) {
    if (line.substr(line.find('\t') + 1) == FormatOf(type).kernel_name) return true;
  }
  return false;
}

Result<TestDisk> TestDisk::Prepare(const TempRoot& root, std::string_view name, int mebibytes) {
  TestDisk disk;
  disk.mebibytes_ = mebibytes;
  STRATA_TRY_ASSIGN(disk.mount_point_, root.MakeDir(name));
  STRATA_TRY_ASSIGN(const std::string memory, root.MakeDir(std::string(name) + ".image"));
  if (::mount("tmpfs", memory.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=700") != 0) {
    return FailErrno("mount", memory);
  }
  disk.image_ = memory + "/image";
  return disk;
}

Result<TestDisk> TestDisk::Create(const TempRoot& root, std::string_view name, Filesystem type,
                                  int mebibytes) {
  STRATA_TRY_ASSIGN(TestDisk disk, Prepare(root, name, mebibytes));
  STRATA_TRY(disk.Format(type));
  STRATA_TRY(disk.Mount());
  return disk;
}

Result<TestDisk> TestDisk::Pack(const TempRoot& root, std::string_view name, Filesystem type,
                                const std::string& tree) {
  STRATA_TRY_ASSIGN(TestDisk disk, Prepare(root, name));
  disk.type_ = type;
  if (type == Filesystem::kSquashfs) {
    STRATA_TRY(RunTool({"mksquashfs", tree, disk.image_, "-quiet", "-no-progress", "-xattrs"}));
  } else {
    std::vector<std::string> command = FormatOf(type).make;
    command.insert(command.end(), {disk.image_, tree});
    STRATA_TRY(MakeEmpty(disk.image_, 0));
    STRATA_TRY(RunTool(command));
  }
  STRATA_TRY(disk.Mount());
  return disk;
}

Result<> TestDisk::Format(Filesystem type) {
  type_ = type;
  if (InMemory(type)) return {};
  STRATA_TRY(MakeEmpty(image_, static_cast<off_t>(mebibytes_) << 20));
  std::vector<std::string> command = FormatOf(type).make;
  command.push_back(image_);
  STRATA_TRY(RunTool(command));
  return {};
}

Result<> TestDisk::Mount(const std::string& options) {
  std::vector<std::string> command = {"mount", "-t", FormatOf(type_).kernel_name};
  std::string all = InMemory(type_) ? "mode=755" : "loop";
  if (!options.empty()) all += "," + options;
  command.insert(command.end(),
                 {"-o", all, InMemory(type_) ? std::string("none") : image_, mount_point_});
  STRATA_TRY(RunTool(command));
  return {};
}

Result<> TestDisk::Unmount() {
  for (int attempt = 0; ::umount2(mount_point_.c_str(), UMOUNT_NOFOLLOW) != 0; ++attempt) {
    if (errno != EBUSY || attempt >= kAttempts) return FailErrno("umount2", mount_point_);
    ::usleep(kPause);
  }
  for (int attempt = 0; HasLoopDevice(image_); ++attempt) {
    if (attempt >= kAttempts) return Fail(EBUSY, "unmount", mount_point_ + " is in use elsewhere");
    ::usleep(kPause);
  }
  return {};
}

}  // namespace strata::support
