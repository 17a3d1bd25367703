#include "tests/support/unsynced_file_ops.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <ranges>
#include <utility>

#include "base/path.h"
#include "base/remove_tree.h"
#include "base/try.h"

namespace strata::support {

Result<std::unique_ptr<UnsyncedFileOps>> UnsyncedFileOps::Create(FileOps& target,
                                                                 const std::string& attic) {
  STRATA_TRY(target.MakeDir(AT_FDCWD, attic.c_str(), 0700));
  STRATA_TRY_ASSIGN(UniqueFd fd, target.Open(AT_FDCWD, attic.c_str(), O_RDONLY | O_DIRECTORY));
  return std::unique_ptr<UnsyncedFileOps>(new UnsyncedFileOps(target, std::move(fd)));
}

Result<UnsyncedFileOps::Place> UnsyncedFileOps::Find(int dir, const char* path) {
  const std::string_view parent = DirName(path);
  const std::string to_open = parent.empty() ? "." : std::string(parent);
  STRATA_TRY_ASSIGN(UniqueFd fd, target().Open(dir, to_open.c_str(), O_RDONLY | O_DIRECTORY));
  STRATA_TRY_ASSIGN(const struct stat st, target().Stat(fd.get()));
  const Inode inode{st.st_dev, st.st_ino};
  DirectoryRef& known = directories_[inode];
  if (known == nullptr) known = std::make_shared<const Directory>(std::move(fd), inode);
  return Place{known, std::string(BaseName(path))};
}

Result<UnsyncedFileOps::Inode> UnsyncedFileOps::InodeAt(const Place& place) {
  STRATA_TRY_ASSIGN(const struct stat st,
                    target().StatAt(place.dir->fd.get(), place.name.c_str(), AT_SYMLINK_NOFOLLOW));
  return Inode{st.st_dev, st.st_ino};
}

Result<> UnsyncedFileOps::WillWrite(int fd) {
  STRATA_TRY_ASSIGN(const struct stat st, target().Stat(fd));
  const Inode inode{st.st_dev, st.st_ino};
  if (!S_ISREG(st.st_mode) || files_.contains(inode)) return {};
  STRATA_TRY_ASSIGN(UniqueFd own, target().Open(AT_FDCWD, ProcFdPath(fd).c_str(), O_WRONLY, 0));
  files_.emplace(inode, UnsyncedFile{std::move(own), st.st_size});
  return {};
}

template <class Make>
auto UnsyncedFileOps::Making(int dir, const char* path, Make make) -> decltype(make()) {
  const MutexLock lock(mu_);
  auto place = Find(dir, path);
  // Then it cannot be made either.
  if (!place) return make();
  const bool there = InodeAt(*place).has_value();
  auto made = make();
  if (!made || there) return made;
  // O_CREAT may have gone without, as with O_TMPFILE.
  if (const auto inode = InodeAt(*place)) {
    changes_.push_back({Change::Kind::kMade, std::move(*place), {}, *inode, {}});
  }
  return made;
}

Result<UniqueFd> UnsyncedFileOps::Open(int dir, const char* path, int flags, mode_t mode) {
  if ((flags & O_CREAT) == 0) return target().Open(dir, path, flags, mode);
  return Making(dir, path, [&] { return target().Open(dir, path, flags, mode); });
}
Result<UniqueFd> UnsyncedFileOps::OpenConfined(int dir, const char* path, int flags, mode_t mode,
                                               std::uint64_t resolve) {
  if ((flags & O_CREAT) == 0) return target().OpenConfined(dir, path, flags, mode, resolve);
  return Making(dir, path, [&] { return target().OpenConfined(dir, path, flags, mode, resolve); });
}

Result<std::size_t> UnsyncedFileOps::WriteAt(int fd, std::span<const std::byte> data,
                                             off_t offset) {
  const MutexLock lock(mu_);
  STRATA_TRY(WillWrite(fd));
  return target().WriteAt(fd, data, offset);
}
Result<std::size_t> UnsyncedFileOps::Write(int fd, std::span<const std::byte> data) {
  const MutexLock lock(mu_);
  STRATA_TRY(WillWrite(fd));
  return target().Write(fd, data);
}
Result<std::size_t> UnsyncedFileOps::CopyRange(int in, off_t in_offset, int out, off_t out_offset,
                                               std::size_t length) {
  const MutexLock lock(mu_);
  STRATA_TRY(WillWrite(out));
  return target().CopyRange(in, in_offset, out, out_offset, length);
}
Result<> UnsyncedFileOps::Clone(int from, int to) {
  const MutexLock lock(mu_);
  STRATA_TRY(WillWrite(to));
  return target().Clone(from, to);
}
Result<> UnsyncedFileOps::Truncate(int fd, off_t size) {
  const MutexLock lock(mu_);
  STRATA_TRY(WillWrite(fd));
  return target().Truncate(fd, size);
}
Result<> UnsyncedFileOps::TruncatePath(const char* path, off_t) {
  return Fail(ENOTSUP, "unsynced truncate", path);
}
Result<> UnsyncedFileOps::Allocate(int fd, int mode, off_t offset, off_t length) {
  const MutexLock lock(mu_);
  STRATA_TRY(WillWrite(fd));
  return target().Allocate(fd, mode, offset, length);
}

template <class SyncCall>
Result<> UnsyncedFileOps::Syncing(int fd, SyncCall sync) {
  const MutexLock lock(mu_);
  STRATA_TRY(sync());
  STRATA_TRY_ASSIGN(const struct stat st, target().Stat(fd));
  const Inode inode{st.st_dev, st.st_ino};
  files_.erase(inode);
  std::erase_if(changes_, [&](const Change& c) { return c.place.dir->inode == inode; });
  return {};
}

Result<> UnsyncedFileOps::Sync(int fd) {
  return Syncing(fd, [&] { return target().Sync(fd); });
}
Result<> UnsyncedFileOps::SyncData(int fd) {
  return Syncing(fd, [&] { return target().SyncData(fd); });
}
Result<> UnsyncedFileOps::SyncFilesystem(int fd) {
  const MutexLock lock(mu_);
  STRATA_TRY(target().SyncFilesystem(fd));
  files_.clear();
  changes_.clear();
  return {};
}

Result<> UnsyncedFileOps::MakeDir(int dir, const char* path, mode_t mode) {
  return Making(dir, path, [&] { return target().MakeDir(dir, path, mode); });
}
Result<> UnsyncedFileOps::MakeNode(int dir, const char* path, mode_t mode, dev_t dev) {
  return Making(dir, path, [&] { return target().MakeNode(dir, path, mode, dev); });
}
Result<> UnsyncedFileOps::SymLink(const char* link, int dir, const char* path) {
  return Making(dir, path, [&] { return target().SymLink(link, dir, path); });
}
Result<> UnsyncedFileOps::Link(int from_dir, const char* from, int to_dir, const char* to,
                               int flags) {
  return Making(to_dir, to, [&] { return target().Link(from_dir, from, to_dir, to, flags); });
}

Result<std::string> UnsyncedFileOps::Save(const Place& place) {
  std::string name = std::to_string(saved_++);
  STRATA_TRY(target().Rename(place.dir->fd.get(), place.name.c_str(), attic_.get(), name.c_str(),
                             RENAME_NOREPLACE));
  return name;
}

// What unlinkat(2) would say, for it is a rename that takes its place.
Result<> UnsyncedFileOps::CheckRemovable(const Place& place, int flags) {
  const int dir = place.dir->fd.get();
  STRATA_TRY_ASSIGN(const struct stat st,
                    target().StatAt(dir, place.name.c_str(), AT_SYMLINK_NOFOLLOW));
  const bool wants_directory = (flags & AT_REMOVEDIR) != 0;
  if (S_ISDIR(st.st_mode) != wants_directory) {
    return Fail(wants_directory ? ENOTDIR : EISDIR, "unlinkat");
  }
  if (!wants_directory) return {};
  STRATA_TRY_ASSIGN(const UniqueFd fd,
                    target().Open(dir, place.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0));
  STRATA_TRY_ASSIGN(const auto names, NamesIn(target(), fd.get()));
  if (!names.empty()) return Fail(ENOTEMPTY, "unlinkat");
  return {};
}

Result<> UnsyncedFileOps::Unlink(int dir, const char* path, int flags) {
  const MutexLock lock(mu_);
  STRATA_TRY_ASSIGN(Place place, Find(dir, path));
  STRATA_TRY(CheckRemovable(place, flags));
  STRATA_TRY_ASSIGN(std::string saved, Save(place));
  changes_.push_back({Change::Kind::kRemoved, std::move(place), {}, {}, std::move(saved)});
  return {};
}

Result<> UnsyncedFileOps::Rename(int from_dir, const char* from, int to_dir, const char* to,
                                 unsigned flags) {
  const MutexLock lock(mu_);
  STRATA_TRY_ASSIGN(Place source, Find(from_dir, from));
  STRATA_TRY_ASSIGN(Place place, Find(to_dir, to));
  STRATA_TRY_ASSIGN(const Inode moved, InodeAt(source));
  const auto before = InodeAt(place);
  if (before && *before == moved) return target().Rename(from_dir, from, to_dir, to, flags);
  const bool exchange = (flags & RENAME_EXCHANGE) != 0;
  std::string saved;
  if (before && (flags & (RENAME_NOREPLACE | RENAME_EXCHANGE)) == 0) {
    // A second name, so that the rename itself stays as it is. Directories cannot have one.
    saved = std::to_string(saved_++);
    STRATA_TRY(target().Link(place.dir->fd.get(), place.name.c_str(), attic_.get(), saved.c_str()));
  }
  STRATA_TRY(target().Rename(from_dir, from, to_dir, to, flags));
  changes_.push_back({exchange ? Change::Kind::kExchanged : Change::Kind::kRenamed,
                      std::move(place), std::move(source), moved, std::move(saved)});
  return {};
}

Result<> UnsyncedFileOps::PutBack(const Change& change) {
  auto back = target().Rename(attic_.get(), change.saved.c_str(), change.place.dir->fd.get(),
                              change.place.name.c_str(), RENAME_NOREPLACE);
  // The name has been made durable for something else.
  if (!back && back.error().code() == EEXIST) return {};
  return back;
}

Result<> UnsyncedFileOps::UndoRename(const Change& change) {
  const unsigned how = change.kind == Change::Kind::kExchanged ? RENAME_EXCHANGE : RENAME_NOREPLACE;
  auto back = target().Rename(change.place.dir->fd.get(), change.place.name.c_str(),
                              change.from.dir->fd.get(), change.from.name.c_str(), how);
  if (!back && back.error().code() != EEXIST) return back;
  return change.saved.empty() ? Result<>() : PutBack(change);
}

Result<> UnsyncedFileOps::Undo(const Change& change) {
  if (change.kind == Change::Kind::kRemoved) return PutBack(change);
  // It may have gone on by a rename that is durable, and another may have its name now.
  const auto there = InodeAt(change.place);
  if (!there || *there != change.made) return {};
  if (change.kind == Change::Kind::kMade) {
    return RemoveTree(target(), change.place.dir->fd.get(), change.place.name.c_str());
  }
  return UndoRename(change);
}

Result<> UnsyncedFileOps::DropUnsynced() {
  const MutexLock lock(mu_);
  for (const auto& [inode, file] : files_) {
    STRATA_TRY_ASSIGN(const struct stat st, target().Stat(file.fd.get()));
    if (st.st_size > file.durable_size) {
      STRATA_TRY(target().Truncate(file.fd.get(), file.durable_size));
    }
  }
  for (const Change& change : std::views::reverse(changes_)) STRATA_TRY(Undo(change));
  files_.clear();
  changes_.clear();
  directories_.clear();
  return {};
}

}  // namespace strata::support
