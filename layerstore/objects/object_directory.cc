#include "layerstore/objects/object_directory.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "base/path.h"
#include "base/try.h"
#include "base/verity.h"

namespace strata::layerstore {
namespace {

constexpr mode_t kPrivateDirectory = 0700;
constexpr std::string_view kSelinuxLabel = "security.selinux";

// Smaller ones take a block at the most, or none where they lie in the inode; and to read what they
// are compared with may take longer than to write them.
constexpr std::uint64_t kCloneFrom = 4096;

bool IsMissing(const Error& error) { return error.code() == ENOENT; }

bool IsNoRoom(const Error& error) { return error.code() == ENOSPC || error.code() == EDQUOT; }

// It is not the disk that fails: this filesystem does no such thing, or not with these files.
bool IsNotPossible(const Error& error) {
  const int code = error.code();
  return code == EOPNOTSUPP || code == EXDEV || code == EINVAL || code == ENOTTY;
}

// None but the label that every file gets.
Result<bool> HasNoXattrs(FileOps& ops, int fd) {
  auto names = ops.ListXattr(fd);
  if (names) return std::ranges::all_of(*names, [](auto& name) { return name == kSelinuxLabel; });
  if (names.error().code() == EOPNOTSUPP) return true;
  return std::unexpected(std::move(names).error());
}

}  // namespace

Result<ObjectDirectory::Found> ObjectDirectory::Find(const ObjectKey& key,
                                                     const ObjectTraits& traits) {
  constexpr int kFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
  Found found;
  auto fd = ops_.Open(dir_.get(), key.Path().c_str(), kFlags);
  if (!fd) {
    // Nobody may read it, or it is none of ours, or damaged: as good as no candidate.
    const int code = fd.error().code();
    found.taken = code == EACCES || code == ELOOP || IsDamage(code);
    if (found.taken || IsMissing(fd.error())) return found;
    return std::unexpected(std::move(fd).error());
  }
  found.taken = true;
  STRATA_TRY_ASSIGN(const struct stat st, ops_.Stat(fd->get()));
  if (!traits.Fit(st)) return found;
  STRATA_TRY_ASSIGN(const bool plain, HasNoXattrs(ops_, fd->get()));
  if (!plain) return found;
  found.fd = std::move(*fd);
  return found;
}

Result<bool> ObjectDirectory::MayClone(std::uint64_t size) {
  if (size < kCloneFrom) return false;
  {
    MutexLock lock(mu_);
    if (clones_) return *clones_;
  }
  STRATA_TRY_ASSIGN(const auto clones, TryCloning());
  if (!clones) return false;
  MutexLock lock(mu_);
  clones_ = clones;
  return *clones;
}

Result<std::optional<bool>> ObjectDirectory::TryCloning() {
  constexpr int kFlags = O_TMPFILE | O_RDWR;
  constexpr mode_t kPrivateFile = 0600;
  UniqueFd files[2];
  for (UniqueFd& file : files) {
    auto made = ops_.Open(dir_.get(), ".", kFlags, kPrivateFile);
    if (made) {
      file = std::move(*made);
      continue;
    }
    if (IsNoRoom(made.error())) return std::nullopt;
    // The kernels and filesystems that know no nameless files.
    if (IsNotPossible(made.error()) || made.error().code() == EISDIR) return false;
    return std::unexpected(std::move(made).error());
  }
  auto cloned = ops_.Clone(files[0].get(), files[1].get());
  if (cloned) return true;
  if (IsNoRoom(cloned.error())) return std::nullopt;
  if (IsNotPossible(cloned.error())) return false;
  return std::unexpected(std::move(cloned).error());
}

Result<> ObjectDirectory::LoadNames(const ObjectKey& key) {
  if (!names_.Wants(key)) return {};
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
  std::string path = key.Path();
  path.resize(DirName(path).size());
  std::vector<ObjectKey> all;
  auto dir = ops_.Open(dir_.get(), path.c_str(), kFlags);
  if (dir) {
    path += '/';
    const std::size_t fan = path.size();
    STRATA_TRY(ops_.ReadDir(dir->get(), [&](std::string_view name, ino_t, unsigned char) {
      path.replace(fan, std::string::npos, name);
      if (const auto found = ObjectKey::FromPath(path)) all.push_back(*found);
      return true;
    }));
  } else if (!IsMissing(dir.error())) {
    return std::unexpected(std::move(dir).error());
  }
  names_.Load(key, std::move(all));
  return {};
}

Result<UniqueFd> ObjectDirectory::FindAlike(const ObjectKey& key, std::uint64_t size) {
  constexpr std::size_t kTries = 4;
  constexpr int kFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
  STRATA_TRY_ASSIGN(const bool may, MayClone(size));
  if (!may) return UniqueFd();
  std::vector<ObjectKey> alike;
  {
    MutexLock lock(mu_);
    STRATA_TRY(LoadNames(key));
    const auto known = names_.Alike(key);
    std::ranges::copy(known.first(std::min(known.size(), kTries)), std::back_inserter(alike));
  }
  for (const ObjectKey& candidate : alike) {
    auto fd = ops_.Open(dir_.get(), candidate.Path().c_str(), kFlags);
    if (!fd) {
      const int code = fd.error().code();
      if (code == EACCES || code == ELOOP) continue;
      if (code != ENOENT) return std::unexpected(std::move(fd).error());
      MutexLock lock(mu_);
      names_.Remove(candidate);  // by another process
      continue;
    }
    STRATA_TRY_ASSIGN(const struct stat st, ops_.Stat(fd->get()));
    if (S_ISREG(st.st_mode) && static_cast<std::uint64_t>(st.st_size) == size) {
      return std::move(*fd);
    }
  }
  return UniqueFd();
}

Result<bool> ObjectDirectory::Clone(int object, int to, std::uint64_t length) {
  auto cloned = ops_.Clone(object, to);
  if (cloned) {
    STRATA_TRY_ASSIGN(const struct stat st, ops_.Stat(to));
    if (static_cast<std::uint64_t>(st.st_size) < length) {
      return Fail(EIO, "clone an object", "it became shorter");
    }
    if (static_cast<std::uint64_t>(st.st_size) > length) {
      STRATA_TRY(ops_.Truncate(to, static_cast<off_t>(length)));
    }
    return true;
  }
  // XFS wants room where the object lies, and the disk may have some elsewhere.
  if (IsNoRoom(cloned.error())) {
    STRATA_TRY(ops_.Truncate(to, 0));
    return false;
  }
  if (IsNotPossible(cloned.error())) return false;
  return std::unexpected(std::move(cloned).error());
}

Result<bool> ObjectDirectory::Link(int found, int dir, const char* name) {
  // By the descriptor: the name may have become another file's since.
  const std::string file = ProcFdPath(found);
  auto linked = ops_.Link(AT_FDCWD, file.c_str(), dir, name, AT_SYMLINK_FOLLOW);
  if (linked) return true;
  const int code = linked.error().code();
  if (code == EMLINK || code == ENOENT || code == EPERM) return false;
  return std::unexpected(std::move(linked).error());
}

Result<bool> ObjectDirectory::Add(int dir, const char* name, const ObjectKey& key) {
  const std::string path = key.Path();
  auto linked = ops_.Link(dir, name, dir_.get(), path.c_str());
  if (!linked && IsMissing(linked.error())) {
    auto made = ops_.MakeDir(dir_.get(), std::string(DirName(path)).c_str(), kPrivateDirectory);
    if (!made && made.error().code() != EEXIST) return std::unexpected(std::move(made).error());
    linked = ops_.Link(dir, name, dir_.get(), path.c_str());
  }
  if (linked) {
    MutexLock lock(mu_);
    names_.Add(key);
    return true;
  }
  // A plain user may not link to every file of theirs (fs.protected_hardlinks).
  const int code = linked.error().code();
  if (code == EEXIST || code == EMLINK || code == EPERM) return false;
  return std::unexpected(std::move(linked).error());
}

Result<bool> ObjectDirectory::Replace(int dir, const char* name, int scratch,
                                      const ObjectKey& key) {
  constexpr const char* kScratch = "object";
  auto linked = ops_.Link(dir, name, scratch, kScratch);
  if (!linked) {
    if (linked.error().code() == EMLINK || linked.error().code() == EPERM) return false;
    return std::unexpected(std::move(linked).error());
  }
  STRATA_TRY(ops_.Rename(scratch, kScratch, dir_.get(), key.Path().c_str()));
  return true;
}

// A layer that comes to use the object between the question and the answer keeps its file; the
// next one that has the same file does not find it here.
Result<std::uint64_t> ObjectDirectory::Drop(const ObjectKey& key) {
  const std::string path = key.Path();
  STRATA_TRY_ASSIGN(const auto unused, FindUnused(path));
  if (!unused) return 0;
  const auto size = static_cast<std::uint64_t>(unused->st_size);
  STRATA_TRY_ASSIGN(const bool may_share, MayClone(size));
  if (may_share) {
    STRATA_TRY_ASSIGN(const bool more, RemoveOneOfSeveral(key));
    return more ? 0 : RoomOf(size);
  }
  STRATA_TRY(Remove(path));
  return RoomOf(size);
}

// All of it under the lock, so that of two that are removed at once one is the last.
Result<bool> ObjectDirectory::RemoveOneOfSeveral(const ObjectKey& key) {
  MutexLock lock(mu_);
  STRATA_TRY(LoadNames(key));
  STRATA_TRY(Remove(key.Path()));
  names_.Remove(key);
  for (const ObjectKey& other : names_.Alike(key)) {
    const auto st = ops_.StatAt(dir_.get(), other.Path().c_str());
    if (st) return true;
    // Another process may have removed it.
    if (!IsMissing(st.error())) return Fail(st.error().code(), "object", other.Path());
  }
  return false;
}

Result<std::optional<struct stat>> ObjectDirectory::Look(const ObjectKey& key) {
  return LookAt(key.Path());
}

Result<std::optional<struct stat>> ObjectDirectory::LookAt(const std::string& path) {
  const auto st = ops_.StatAt(dir_.get(), path.c_str());
  if (!st && !IsMissing(st.error())) return Fail(st.error().code(), "object", path);
  return st ? std::optional(*st) : std::nullopt;
}

Result<std::optional<struct stat>> ObjectDirectory::FindUnused(const std::string& path) {
  STRATA_TRY_ASSIGN(const auto st, LookAt(path));
  return st && !InUse(*st) ? st : std::nullopt;
}

Result<> ObjectDirectory::Remove(const std::string& path) {
  auto removed = ops_.Unlink(dir_.get(), path.c_str());
  if (!removed && IsMissing(removed.error())) return {};
  return removed;
}

Result<std::uint64_t> ObjectDirectory::Sweep() {
  std::uint64_t room = 0;
  std::string fan;
  std::set<std::uint64_t> contents;  // in it, of those that may share
  STRATA_TRY(ForEach([&](const std::string& path, const struct stat& st) -> Result<> {
    if (S_ISREG(st.st_mode) && !InUse(st)) return Remove(path);
    const auto size = static_cast<std::uint64_t>(st.st_size);
    const auto key = ObjectKey::FromPath(path);
    STRATA_TRY_ASSIGN(const bool may_share, MayClone(size));
    if (key && may_share) {
      if (DirName(path) != fan) contents.clear();
      fan = DirName(path);
      if (!contents.insert(key->Content()).second) return {};
    }
    room += RoomOf(size);
    return {};
  }));
  return room;
}

Result<> ObjectDirectory::ForEach(const Each& each) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
  STRATA_TRY_ASSIGN(const UniqueFd dir, ops_.Open(dir_.get(), ".", kFlags));
  STRATA_TRY_ASSIGN(const std::vector<std::string> names, NamesIn(ops_, dir.get()));
  for (const std::string& name : names) {
    STRATA_TRY_ASSIGN(const struct stat st, ops_.StatAt(dir.get(), name.c_str()));
    STRATA_TRY(S_ISDIR(st.st_mode) ? ForEachIn(name, each) : each(name, st));
  }
  return {};
}

Result<> ObjectDirectory::ForEachIn(const std::string& fan, const Each& each) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
  STRATA_TRY_ASSIGN(const UniqueFd dir, ops_.Open(dir_.get(), fan.c_str(), kFlags));
  STRATA_TRY_ASSIGN(const std::vector<std::string> names, NamesIn(ops_, dir.get()));
  for (const std::string& name : names) {
    auto st = ops_.StatAt(dir.get(), name.c_str());
    if (!st && IsMissing(st.error())) continue;
    if (!st) return std::unexpected(std::move(st).error());
    STRATA_TRY(each(JoinPath(fan, name), *st));
  }
  return {};
}

}  // namespace strata::layerstore
