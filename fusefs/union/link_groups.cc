#include "fusefs/union/link_groups.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include <cstring>
#include <span>

#include "base/hex.h"
#include "base/try.h"
#include "fusefs/union/file_handle.h"

namespace strata::fusefs {
namespace {

// struct ovl_fb: version, magic, length, flags, type, uuid[16], handle bytes.
constexpr std::uint8_t kHandleVersion = 0;
constexpr std::uint8_t kHandleMagic = 0xfb;
constexpr std::uint8_t kHandleFlagsLittleEndian = 0;
constexpr std::size_t kUuidBytes = 16;
constexpr std::size_t kHandleHeader = 5 + kUuidBytes;

// linux/exportfs.h: FILEID_INO32_GEN, and fs/xfs/xfs_export.h: the same with 64-bit numbers.
constexpr std::uint8_t kHandleIno32 = 1;
constexpr std::uint8_t kHandleIno64 = 0x81;

// FS_IOC_GETFSUUID (linux/fs.h since 6.9): struct fsuuid2.
struct FilesystemUuid {
  std::uint8_t length;
  std::uint8_t uuid[kUuidBytes];
};
constexpr unsigned long kGetFilesystemUuid = _IOR(0x15, 0, FilesystemUuid);

}  // namespace

std::optional<std::string> OriginHandle(int dir, const char* name) {
  const auto handle = FileHandle::Of(dir, name);
  if (!handle) return std::nullopt;

  // Without a UUID the kernel stores zeros too (uuid=null).
  FilesystemUuid uuid{};
  if (::ioctl(dir, kGetFilesystemUuid, &uuid) != 0) std::memset(&uuid, 0, sizeof uuid);

  std::string value(kHandleHeader, '\0');
  value[0] = static_cast<char>(kHandleVersion);
  value[1] = static_cast<char>(kHandleMagic);
  value[2] = static_cast<char>(kHandleHeader + handle->bytes().size());
  value[3] = static_cast<char>(kHandleFlagsLittleEndian);
  value[4] = static_cast<char>(handle->type());
  std::memcpy(value.data() + 5, uuid.uuid, kUuidBytes);
  value.append(handle->bytes());
  return value;
}

std::optional<std::uint64_t> InoOfOrigin(std::string_view handle) {
  if (handle.size() < kHandleHeader || handle[0] != static_cast<char>(kHandleVersion) ||
      handle[1] != static_cast<char>(kHandleMagic) ||
      handle[3] != static_cast<char>(kHandleFlagsLittleEndian)) {
    return std::nullopt;
  }
  const std::string_view body = handle.substr(kHandleHeader);
  std::uint64_t ino = 0;
  std::size_t width = 0;
  if (static_cast<unsigned char>(handle[4]) == kHandleIno32) width = sizeof(std::uint32_t);
  if (static_cast<unsigned char>(handle[4]) == kHandleIno64) width = sizeof(std::uint64_t);
  if (width == 0 || body.size() < width) return std::nullopt;
  std::memcpy(&ino, body.data(), width);
  return ino;
}

Result<std::unique_ptr<LinkGroups>> LinkGroups::Open(FileOps& files, int index_dir) {
  auto groups = std::make_unique<LinkGroups>();
  if (index_dir < 0) return groups;
  std::unordered_set<std::string> indexed;
  STRATA_TRY(files.ReadDir(index_dir, [&](std::string_view name, ino_t, unsigned char) {
    indexed.emplace(name);
    return true;
  }));
  MutexLock lock(groups->mu_);
  groups->indexed_ = std::move(indexed);
  return groups;
}

WeakNode LinkGroups::Find(RealInode inode) const {
  MutexLock lock(mu_);
  const auto found = nodes_.find(inode);
  return found == nodes_.end() ? WeakNode{} : found->second;
}

void LinkGroups::Put(RealInode inode, WeakNode node) {
  MutexLock lock(mu_);
  nodes_[inode] = node;
}

void LinkGroups::Erase(RealInode inode, WeakNode node) {
  MutexLock lock(mu_);
  const auto found = nodes_.find(inode);
  if (found != nodes_.end() && found->second == node) nodes_.erase(found);
}

bool LinkGroups::HasIndex() const {
  MutexLock lock(mu_);
  return !indexed_.empty();
}

bool LinkGroups::Indexed(const std::string& name) const {
  MutexLock lock(mu_);
  return indexed_.contains(name);
}

void LinkGroups::AddIndexed(const std::string& name) {
  MutexLock lock(mu_);
  indexed_.insert(name);
}

void LinkGroups::RemoveIndexed(const std::string& name) {
  MutexLock lock(mu_);
  indexed_.erase(name);
}

}  // namespace strata::fusefs
