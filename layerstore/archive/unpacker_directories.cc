// The part of Unpacker that gives directories what must wait until nothing more is made in them.
#include <array>
#include <utility>

#include "base/path.h"
#include "base/try.h"
#include "layerstore/archive/posix_acl.h"
#include "layerstore/archive/unpacker.h"

namespace strata::layerstore {
namespace {

bool NoSuchAttribute(const Error& error) {
  return error.code() == ENODATA || error.code() == ENOTSUP;
}

}  // namespace

Result<> Unpacker::DropInheritedAcls() {
  for (const char* name : {kAclDefaultXattr, kAclAccessXattr}) {
    auto removed = ops_.RemoveXattr(root_, name);
    if (!removed && !NoSuchAttribute(removed.error())) return removed;
  }
  return {};
}

// A directory that is not pending was finished early, or only paths have named it: either way what
// it has now is what it shall have in the end.
Result<> Unpacker::HoldDirectory(const std::string& path, int fd) {
  if (const DirectoryEnd* pending = pending_.Use(path)) {
    entered_group_ = pending->group;
    return {};
  }
  STRATA_TRY_ASSIGN(const struct stat st, ops_.Stat(fd));
  entered_group_ = st.st_gid;
  DirectoryEnd end{{st.st_atim, st.st_mtim}, {}, st.st_gid};
  if (auto acl = ops_.GetXattr(fd, kAclDefaultXattr)) {
    end.default_acl = std::move(*acl);
    STRATA_TRY(ops_.RemoveXattr(fd, kAclDefaultXattr));
  } else if (!NoSuchAttribute(acl.error())) {
    return std::unexpected(std::move(acl).error());
  }
  pending_.Put(path, std::move(end));
  return {};
}

Result<mode_t> Unpacker::KeepOpen(const TarEntry& entry, int fd) {
  constexpr mode_t kAccessBits = 0777;
  mode_t mode = entry.mode & kPermissionBits;
  if (privileged_) return mode;
  STRATA_TRY_ASSIGN(const struct stat st, ops_.Stat(fd));
  const bool by_acl = ((st.st_mode ^ InitialMode(entry)) & kAccessBits) != 0;
  if (!by_acl) return mode;
  mode = (mode & ~kAccessBits) | (st.st_mode & kAccessBits);
  if ((mode & kOwnerAll) != kOwnerAll) STRATA_TRY(ops_.ChmodAt(fd, "", mode | kOwnerAll));
  return mode;
}

Result<> Unpacker::EndLater(const TarEntry& entry, const std::string& path, mode_t mode) {
  DirectoryEnd end{TimesOf(entry), {}, static_cast<gid_t>(entry.gid)};
  for (const auto& [name, value] : entry.xattrs) {
    if (name == kAclDefaultXattr) end.default_acl = value;
  }
  // Entries of one directory merge.
  const DirectoryEnd* before = pending_.Use(path);
  if (before != nullptr && end.default_acl.empty()) end.default_acl = before->default_acl;
  pending_.Put(path, std::move(end));
  closed_.Erase(path);
  if (privileged_ || (mode & kOwnerAll) == kOwnerAll) return {};
  return closed_.Put(path, mode);
}

// Not while an entry is worked on: this may close the directory that was opened for it.
Result<> Unpacker::FinishExcess() {
  while (const auto directory = pending_.TakeExcess()) STRATA_TRY(FinishDirectory(*directory));
  return {};
}

Result<> Unpacker::FinishDirectories() {
  while (const auto directory = pending_.TakeLast()) STRATA_TRY(FinishDirectory(*directory));
  // Backwards, children before their parents, which may become unsearchable.
  const auto& closed = closed_.names();
  for (auto it = closed.rbegin(); it != closed.rend(); ++it) {
    const auto& [path, mode] = *it;
    if (path.empty()) {
      STRATA_TRY(ops_.Chmod(root_, mode));
      continue;
    }
    STRATA_TRY_ASSIGN(const int parent, tree_.Open(std::string(DirName(path))));
    STRATA_TRY(ops_.ChmodAt(parent, std::string(BaseName(path)).c_str(), mode));
  }
  return {};
}

Result<> Unpacker::FinishDirectory(const PendingDirectories::Directory& directory) {
  const auto& [path, end] = directory;
  const auto finish = [&]() -> Result<> {
    if (!end.default_acl.empty()) {
      STRATA_TRY_ASSIGN(const int fd, tree_.Open(path));
      STRATA_TRY(SetXattr(path, fd, kAclDefaultXattr, end.default_acl));
    }
    if (path.empty()) return ops_.Utimes(root_, end.times.data());
    STRATA_TRY_ASSIGN(const int parent, tree_.Open(std::string(DirName(path))));
    return ops_.UtimesAt(parent, std::string(BaseName(path)).c_str(), end.times.data(),
                         AT_SYMLINK_NOFOLLOW);
  };
  auto done = finish();
  if (done) return done;
  return std::unexpected(std::move(done).error().WithContext("entry '" + ShownName(path) + "'"));
}

void Unpacker::ForgetDirectory(std::string_view path) {
  tree_.Forget(path);
  pending_.Forget(path);
  closed_.EraseTree(path);
  late_links_.EraseTree(path);
}

}  // namespace strata::layerstore
