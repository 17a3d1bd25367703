// The part of Unpacker that hides lower entries and sets attributes.
#include <array>
#include <utility>

#include "base/logging.h"
#include "base/path.h"
#include "base/try.h"
#include "layerstore/archive/posix_acl.h"
#include "layerstore/archive/unpacker.h"
#include "layerstore/archive/xattr_policy.h"

namespace strata::layerstore {
namespace {

bool CannotBeMarked(const Error& error) { return error.code() == ENOTSUP; }

}  // namespace

Result<> Unpacker::HideLower(const std::string& directory, std::string_view target) {
  STRATA_TRY_ASSIGN(const int parent, EnterDirectory(directory));
  const std::string name(target);
  const std::string path = JoinPath(directory, name);
  // The layer's own entry hides what is lower already.
  if (late_links_.Find(path) != nullptr) return {};
  auto st = ops_.StatAt(parent, name.c_str());
  if (st) {
    if (!S_ISDIR(st->st_mode)) return {};
    STRATA_TRY(MakeOpaque(path));
    STRATA_TRY_ASSIGN(const int fd, OpenOrMake(path));
    return DropImplied(fd);
  }
  if (st.error().code() != ENOENT) return std::unexpected(std::move(st).error());
  return MakeWhiteout({parent, name.c_str(), path});
}

Result<> Unpacker::MakeWhiteout(const Place& place) {
  constexpr mode_t kWhiteoutMode = 0;
  constexpr mode_t kFileMode = 0600;
  if (!whiteouts_as_files_) {
    auto made = ops_.MakeNode(place.parent, place.name, S_IFCHR | kWhiteoutMode, 0);
    if (made || made.error().code() != EPERM) return made;
    whiteouts_as_files_ = true;
  }
  const std::string name = std::string(kWhiteoutPrefix) + place.name;
  auto made = ops_.MakeNode(place.parent, name.c_str(), S_IFREG | kFileMode, 0);
  if (!made && made.error().code() == EEXIST) return {};
  return made;
}

Result<> Unpacker::MakeOpaque(const std::string& directory) {
  if (directory.empty()) return SetOpaque(root_);
  STRATA_TRY_ASSIGN(const int fd, OpenOrMake(directory));
  return SetOpaque(fd);
}

Result<> Unpacker::NoteXattrs(int fd) {
  STRATA_TRY_ASSIGN(const struct stat st, ops_.Stat(fd));
  inodes_.with_xattrs.Add(st.st_ino);
  return {};
}

Result<> Unpacker::SetMark(int fd, std::string (OverlayXattrs::*mark)() const) {
  STRATA_TRY(NoteXattrs(fd));
  if (!user_marks_) {
    auto set = ops_.SetXattr(fd, (OverlayXattrs(false).*mark)().c_str(), "y");
    if (set || set.error().code() != EPERM) return set;
    user_marks_ = true;
  }
  return ops_.SetXattr(fd, (OverlayXattrs(true).*mark)().c_str(), "y");
}

Result<> Unpacker::SetOpaque(int fd) { return SetMark(fd, &OverlayXattrs::Opaque); }

Result<> Unpacker::MarkImplied(int fd) {
  auto marked = SetMark(fd, &OverlayXattrs::Implied);
  // Its attributes hide the lower ones then.
  if (!marked && CannotBeMarked(marked.error())) return {};
  return marked;
}

Result<> Unpacker::DropImplied(int fd) {
  auto removed = ops_.RemoveXattr(fd, OverlayXattrs(user_marks_).Implied().c_str());
  if (!removed && (removed.error().code() == ENODATA || CannotBeMarked(removed.error()))) return {};
  return removed;
}

Result<> Unpacker::SetRootAttributes(const TarEntry& entry) {
  STRATA_TRY(HoldDirectory("", root_));
  STRATA_TRY(DropImplied(root_));
  if (privileged_) {
    STRATA_TRY(ops_.Chown(root_, static_cast<uid_t>(entry.uid), static_cast<gid_t>(entry.gid)));
  }
  STRATA_TRY(ops_.Chmod(root_, InitialMode(entry)));
  STRATA_TRY(SetXattrs(entry, root_));
  STRATA_TRY_ASSIGN(const mode_t mode, KeepOpen(entry, root_));
  return EndLater(entry, "", mode);
}

// The kernel gives a new file the process's group, or that of a directory which hands down its own.
bool Unpacker::IsMadeWithOwner(const TarEntry& entry) const {
  const auto group = static_cast<std::int64_t>(own_group_);
  return privileged_ && entry.uid == 0 && entry.gid == group && entered_group_ == own_group_;
}

Result<> Unpacker::SetOwner(const TarEntry& entry, const Place& place) {
  if (!privileged_) return {};
  return ops_.ChownAt(place.parent, place.name, static_cast<uid_t>(entry.uid),
                      static_cast<gid_t>(entry.gid), AT_SYMLINK_NOFOLLOW);
}

Result<> Unpacker::SetXattrsAt(const TarEntry& entry, const Place& place, int open_flags) {
  if (entry.xattrs.empty()) return {};
  STRATA_TRY_ASSIGN(const UniqueFd fd, ops_.Open(place.parent, place.name, open_flags));
  return SetXattrs(entry, fd.get());
}

Result<> Unpacker::SetXattrs(const TarEntry& entry, int fd) {
  if (entry.unresolved_acl_entries > 0) {
    log::Warn("unpack: ACL entries without a numeric id are left out", {{"entry", entry.path}});
  }
  const bool directory = entry.type == TarEntry::Type::kDirectory;
  for (const auto& [name, value] : entry.xattrs) {
    if (directory && name == kAclDefaultXattr) continue;  // EndLater()
    STRATA_TRY(SetXattr(entry.path, fd, name, value));
  }
  return {};
}

Result<> Unpacker::SetXattr(const std::string& entry, int fd, const std::string& name,
                            std::string_view value) {
  const auto on_disk = XattrNameOnDisk(name);
  if (!on_disk) {
    log::Debug("unpack: attribute left out", {{"entry", entry}, {"name", name}});
    return {};
  }
  auto set = ops_.SetXattr(fd, on_disk->c_str(), value);
  if (set) return NoteXattrs(fd);
  const int code = set.error().code();
  const bool file_kind_lacks_it = code == EPERM && on_disk->starts_with("user.");
  const bool right_is_missing = code == EPERM && !privileged_;
  if (code != ENOTSUP && !file_kind_lacks_it && !right_is_missing) {
    return std::unexpected(std::move(set).error().WithContext("attribute " + ShownName(*on_disk)));
  }
  log::Warn("unpack: attribute can not be set here",
            {{"entry", entry}, {"name", name}, {"error", set.error().ToString()}});
  return {};
}

mode_t Unpacker::InitialMode(const TarEntry& entry) const {
  const mode_t mode = entry.mode & kPermissionBits;
  return privileged_ ? mode : mode | kOwnerAll;
}

}  // namespace strata::layerstore
