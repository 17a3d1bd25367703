// A filesystem of a chosen kind for one test, in memory: a real filesystem's semantics without a
// disk's latency in each fsync.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "tests/support/temp_root.h"

namespace strata::support {

enum class Filesystem : std::uint8_t {
  kExt4,           // with a journal
  kExt4NoJournal,  // an fsync is only the file's own blocks
  kExt4NoTypes,    // directories do not tell their entries' types
  kXfs,
  kBtrfs,
  kTmpfs,
  kRamfs,  // no extended attributes, no file handles
  kVfat,   // the same, and no owners, links or inode numbers
  // Made whole from a directory, read-only ever after.
  kErofs,
  kSquashfs,
};

// As a part of a test's name.
std::string_view FilesystemName(Filesystem type);
// The one of that name; EINVAL for others.
Result<Filesystem> ParseFilesystem(std::string_view name);
bool KernelHas(Filesystem type);

// An image file in memory and where it is mounted. Takes memory as it is filled. All mounts and the
// loop device go with the root, which has to outlive it. Move-only.
class TestDisk {
 public:
  // Only the place for one, root/name.
  static Result<TestDisk> Prepare(const TempRoot& root, std::string_view name,
                                  int mebibytes = kMebibytes);
  // An empty filesystem, mounted at root/name.
  static Result<TestDisk> Create(const TempRoot& root, std::string_view name, Filesystem type,
                                 int mebibytes = kMebibytes);
  // One of the read-only kinds with what is below `tree`, mounted at root/name.
  static Result<TestDisk> Pack(const TempRoot& root, std::string_view name, Filesystem type,
                               const std::string& tree);

  // Where it is mounted.
  const std::string& path() const { return mount_point_; }
  const std::string& image() const { return image_; }
  Filesystem type() const { return type_; }

  // Makes an empty filesystem in place of what there was. It is not mounted, before and after.
  Result<> Format(Filesystem type);
  // `options` as for mount(8).
  Result<> Mount(const std::string& options = {});
  // Returns when the filesystem is gone: a clone of the mount that a process had goes a little
  // later. What was in memory only (tmpfs, ramfs) is gone with it.
  Result<> Unmount();

  // mkfs.xfs makes none below 300 MiB, and mkfs.ext4 takes blocks of 1 KiB below 512 MiB.
  static constexpr int kMebibytes = 600;

 private:
  Filesystem type_ = Filesystem::kExt4;
  int mebibytes_ = kMebibytes;
  std::string image_;
  std::string mount_point_;
};

}  // namespace strata::support
