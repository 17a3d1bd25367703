#include "fusefs/union/link_groups.h"

#include <fcntl.h>

#include <cstring>
#include <span>

#include "base/hex.h"
#include "base/try.h"

namespace strata::fusefs {
namespace {

// struct ovl_fb: version, magic, length, flags, type, uuid[16], handle bytes.
constexpr std::uint8_t kHandleVersion = 0;
constexpr std::uint8_t kHandleMagic = 0xfb;
constexpr std::uint8_t kHandleFlagsLittleEndian = 0;
constexpr std::size_t kUuidAt = 5;
constexpr std::size_t kHandleHeader = kUuidAt + sizeof(FilesystemUuid);

// Instead of a handle. The time and the size are for filesystems that number their inodes anew at
// each mount. The type is not in the kernel's list (linux/exportfs.h).
constexpr std::uint8_t kNoHandle = 0xf1;
struct InsteadOfHandle {
  std::uint64_t ino;
  std::int64_t mtime_seconds;
  std::int64_t mtime_nanoseconds;
  std::uint64_t size;
};

// For a number of ours.
constexpr std::uint8_t kLogical = 0xf2;

// Handles that begin with the inode's number, by type and length: tmpfs, for one, has its
// generation first, in a longer handle of the first type.
struct PlainHandle {
  std::uint8_t type;
  std::size_t length;
  std::size_t ino_width;
};
constexpr PlainHandle kPlainHandles[] = {
    {0x01, 8, sizeof(std::uint32_t)},   // FILEID_INO32_GEN: ext4, small XFS, squashfs
    {0x81, 12, sizeof(std::uint64_t)},  // fs/xfs/xfs_export.h: the same with 64-bit numbers
    {kNoHandle, sizeof(InsteadOfHandle), sizeof(std::uint64_t)},
    {kLogical, sizeof(std::uint64_t), sizeof(std::uint64_t)},
};

std::string MakeHandle(const FilesystemUuid& uuid, std::uint8_t type, std::string_view body) {
  std::string value(kHandleHeader, '\0');
  value[0] = static_cast<char>(kHandleVersion);
  value[1] = static_cast<char>(kHandleMagic);
  value[2] = static_cast<char>(kHandleHeader + body.size());
  value[3] = static_cast<char>(kHandleFlagsLittleEndian);
  value[4] = static_cast<char>(type);
  std::memcpy(value.data() + kUuidAt, uuid.data(), uuid.size());
  value.append(body);
  return value;
}

}  // namespace

std::string OriginHandle(const FilesystemIdentity& filesystem, int dir, const char* name,
                         const struct stat& st) {
  std::optional<FileHandle> handle;
  if (filesystem.lasting_handles) handle = FileHandle::Of(dir, name);
  const InsteadOfHandle instead{st.st_ino, st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
                                static_cast<std::uint64_t>(st.st_size)};
  const std::string_view body =
      handle ? handle->bytes()
             : std::string_view(reinterpret_cast<const char*>(&instead), sizeof instead);
  const auto type = handle ? static_cast<std::uint8_t>(handle->type()) : kNoHandle;
  return MakeHandle(filesystem.uuid, type, body);
}

std::string LogicalOriginHandle(const FilesystemIdentity& filesystem, std::uint64_t number) {
  return MakeHandle(filesystem.uuid, kLogical,
                    {reinterpret_cast<const char*>(&number), sizeof number});
}

std::optional<Origin> ParseOrigin(std::string_view handle) {
  if (handle.size() < kHandleHeader || handle[0] != static_cast<char>(kHandleVersion) ||
      handle[1] != static_cast<char>(kHandleMagic) ||
      handle[3] != static_cast<char>(kHandleFlagsLittleEndian)) {
    return std::nullopt;
  }
  Origin origin;
  std::memcpy(origin.uuid.data(), handle.data() + kUuidAt, origin.uuid.size());
  const auto type = static_cast<std::uint8_t>(handle[4]);
  const std::string_view body = handle.substr(kHandleHeader);
  if (type != kNoHandle && type != kLogical) origin.lasting = FileHandle::From(type, body);
  for (const PlainHandle& plain : kPlainHandles) {
    if (type != plain.type || body.size() != plain.length) continue;
    std::memcpy(&origin.ino.emplace(), body.data(), plain.ino_width);
  }
  return origin;
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
