#include "layerstore/objects/object_directory.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "base/path.h"
#include "base/try.h"

namespace strata::layerstore {
namespace {

constexpr mode_t kPrivateDirectory = 0700;
constexpr std::string_view kSelinuxLabel = "security.selinux";

bool IsMissing(const Error& error) { return error.code() == ENOENT; }

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
    // Nobody may read it, or it is none of ours: as good as no candidate.
    found.taken = fd.error().code() == EACCES || fd.error().code() == ELOOP;
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
  if (linked) return true;
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
  STRATA_TRY(Remove(path));
  return RoomOf(static_cast<std::uint64_t>(unused->st_size));
}

Result<std::optional<struct stat>> ObjectDirectory::FindUnused(const std::string& path) {
  const auto st = ops_.StatAt(dir_.get(), path.c_str());
  if (!st && !IsMissing(st.error())) return Fail(st.error().code(), "object", path);
  return st && !InUse(*st) ? std::optional(*st) : std::nullopt;
}

Result<> ObjectDirectory::Remove(const std::string& path) {
  auto removed = ops_.Unlink(dir_.get(), path.c_str());
  if (!removed && IsMissing(removed.error())) return {};
  return removed;
}

Result<std::uint64_t> ObjectDirectory::Sweep() {
  std::uint64_t room = 0;
  STRATA_TRY(ForEach([&](const std::string& path, const struct stat& st) -> Result<> {
    if (S_ISREG(st.st_mode) && !InUse(st)) return Remove(path);
    room += RoomOf(static_cast<std::uint64_t>(st.st_size));
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
