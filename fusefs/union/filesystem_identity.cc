#include "fusefs/union/filesystem_identity.h"

#include <linux/btrfs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>

#include <algorithm>
#include <cstring>

#include "fusefs/union/file_handle.h"

namespace strata::fusefs {
namespace {

// FS_IOC_GETFSUUID (linux/fs.h since 6.9): struct fsuuid2.
struct ShownUuid {
  std::uint8_t length;
  FilesystemUuid uuid;
};
constexpr unsigned long kGetFilesystemUuid = _IOR(0x15, 0, ShownUuid);

// fcntl.h since Linux 6.5: a handle to compare by, not to open.
constexpr int kHandleToCompare = 0x200;

// fs/btrfs/export.h: numbers of the inode and of its tree, generation.
constexpr int kBtrfsHandle = 0x4d;
constexpr std::size_t kTreeAt = 8;

// fs/overlayfs/overlayfs.h: three bytes, and five more before the UUID of the layer's filesystem.
constexpr int kOverlayHandle = 0xf8;
constexpr std::size_t kLayerUuidAt = 8;

}  // namespace

FilesystemIdentity FilesystemIdentity::Of(int dir) {
  FilesystemIdentity identity;
  struct statfs filesystem{};
  if (::fstatfs(dir, &filesystem) != 0) return identity;
  identity.has_volumes = filesystem.f_type == BTRFS_SUPER_MAGIC;
  // Those are numbers that the server gave out while it ran.
  identity.lasting_handles = filesystem.f_type != FUSE_SUPER_MAGIC;
  ShownUuid shown{};
  btrfs_ioctl_fs_info_args info{};
  if (::ioctl(dir, kGetFilesystemUuid, &shown) == 0) {
    identity.uuid = shown.uuid;
  } else if (identity.has_volumes && ::ioctl(dir, BTRFS_IOC_FS_INFO, &info) == 0) {
    std::ranges::copy(info.fsid, identity.uuid.begin());  // the call before does not know of it
  }
  return identity;
}

std::uint64_t VolumeOf(int dir, const char* name, const struct stat& st) {
  auto handle = FileHandle::Of(dir, name);
  if (!handle) handle = FileHandle::Of(dir, name, kHandleToCompare);
  std::uint64_t parts[2] = {};
  if (handle && handle->type() == kBtrfsHandle && handle->bytes().size() >= kTreeAt + 8) {
    std::memcpy(parts, handle->bytes().data() + kTreeAt, 8);
  } else if (handle && handle->type() == kOverlayHandle &&
             handle->bytes().size() >= kLayerUuidAt + sizeof parts) {
    std::memcpy(parts, handle->bytes().data() + kLayerUuidAt, sizeof parts);
  }
  const std::uint64_t lasting = parts[0] ^ parts[1];
  return lasting != 0 ? lasting : st.st_dev;
}

}  // namespace strata::fusefs
