#include "layerstore/layer/layer_objects.h"

#include <unistd.h>

#include <utility>

#include "base/try.h"

namespace strata::layerstore {
namespace {

constexpr mode_t kPermissionBits = 07777;

}  // namespace

LayerObjects::LayerObjects(FileOps& ops, ObjectDirectory& objects, int layer_dir)
    : ops_(ops),
      objects_(objects),
      layer_dir_(layer_dir),
      list_(ops, layer_dir),
      privileged_(::geteuid() == 0) {}

Result<bool> LayerObjects::MayHave(const TarEntry& entry) {
  if (entry.size <= 0) return false;
  // Most filesystems keep extended attributes outside of the inode, and there are few.
  return entry.xattrs.empty() ? Result<bool>(true)
                              : objects_.MayClone(static_cast<std::uint64_t>(entry.size));
}

Result<StoredFile> LayerObjects::Find(const TarEntry& entry, std::string_view start) {
  ObjectTraits traits;
  traits.size = size_ = static_cast<std::uint64_t>(entry.size);
  traits.mode = entry.mode & kPermissionBits;
  traits.uid = privileged_ ? static_cast<uid_t>(entry.uid) : ::geteuid();
  traits.gid = privileged_ ? static_cast<gid_t>(entry.gid) : ::getegid();
  traits.mtime = entry.mtime;
  key_ = ObjectKey::Of(traits, start);
  name_ = Name::kNone;
  linked_ = false;
  cloned_ = false;
  StoredFile stored;
  if (entry.xattrs.empty()) {
    STRATA_TRY_ASSIGN(stored.fd, FindSame(traits));
    stored.same_file = static_cast<bool>(stored.fd);
  }
  if (!stored.fd) {
    STRATA_TRY_ASSIGN(stored.fd, objects_.FindAlike(key_, size_));
  }
  return stored;
}

Result<UniqueFd> LayerObjects::FindSame(const ObjectTraits& traits) {
  name_ = Name::kLeave;
  for (int twins = 0; seen_.MayHave(key_); ++twins) {
    if (twins == ObjectKey::kTwinsMax) return UniqueFd();
    key_ = key_.Next();
  }
  STRATA_TRY_ASSIGN(ObjectDirectory::Found found, objects_.Find(key_, traits));
  name_ = found.taken ? Name::kReplace : Name::kTake;
  return std::move(found.fd);
}

Result<bool> LayerObjects::Link(int file, int parent, const char* name) {
  STRATA_TRY_ASSIGN(const bool linked, objects_.Link(file, parent, name));
  if (!linked) return false;
  linked_ = true;
  found_room_ += RoomOf(size_);
  seen_.Add(key_);
  STRATA_TRY(list_.Add(key_));
  return true;
}

Result<bool> LayerObjects::Clone(int file, int to, std::uint64_t length) {
  if (std::exchange(linked_, false)) found_room_ -= RoomOf(size_);
  STRATA_TRY_ASSIGN(const bool may, objects_.MayClone(size_));
  if (!may) return false;
  STRATA_TRY_ASSIGN(const bool cloned, objects_.Clone(file, to, length));
  cloned_ = cloned && length == size_;
  return cloned;
}

Result<> LayerObjects::DropUnused() {
  return ForEachObject(ops_, layer_dir_, [&](const ObjectKey& key) -> Result<> {
    STRATA_TRY_ASSIGN(const std::uint64_t freed, objects_.Drop(key));
    offered_room_ -= freed;
    return {};
  });
}

Result<> LayerObjects::Offer(int parent, const char* name) {
  if (name_ == Name::kNone) return {};
  std::uint64_t& room = cloned_ ? found_room_ : offered_room_;
  if (name_ == Name::kLeave) {
    if (cloned_) room += RoomOf(size_);  // objects of this layer have the same data
    return {};
  }
  STRATA_TRY_ASSIGN(const bool taken, name_ == Name::kTake
                                          ? objects_.Add(parent, name, key_)
                                          : objects_.Replace(parent, name, layer_dir_, key_));
  if (!taken) return {};
  room += RoomOf(size_);
  seen_.Add(key_);
  return list_.Add(key_);
}

}  // namespace strata::layerstore
