// Copy-up: staged in the work directory, then given its name in one step. Data, owner, mode,
// xattrs, times, in that order: writing data clears setuid and capabilities, changing the owner
// too, and everything touches the times.
//
// durability: after a crash the file is the lower one or the whole copy, never a part of it
// (data_order.h; not on a volatile upper); its name is as durable as the next fsync of the file,
// which on the filesystems we write to covers the name.
#include <linux/fs.h>

#include <algorithm>
#include <array>

#include "base/digest.h"
#include "base/logging.h"
#include "base/try.h"
#include "fusefs/union/union_engine.h"

namespace strata::fusefs {
namespace {

constexpr std::size_t kSmallCopy =
    std::size_t{128} * 1024;  // below, one read and one write are fastest
constexpr std::size_t kCopyChunk = std::size_t{64} << 20U;  // bytes handed to the kernel at a time
constexpr std::size_t kFallbackChunk = std::size_t{1} << 20U;

// Where copy_file_range(2) cannot help: other filesystems, special ones.
bool NeedsPlainCopy(int code) {
  return code == EXDEV || code == EINVAL || code == EOPNOTSUPP || code == ENOSYS || code == EBADF;
}

Result<> PlainCopy(FileOps& files, int from, int to, off_t offset, off_t end) {
  std::vector<std::byte> buffer(std::min(kFallbackChunk, static_cast<std::size_t>(end - offset)));
  while (offset < end) {
    const std::size_t want = std::min(buffer.size(), static_cast<std::size_t>(end - offset));
    STRATA_TRY_ASSIGN(const std::size_t got,
                      files.ReadAt(from, std::span(buffer).first(want), offset));
    if (got == 0) return {};  // shorter than its stat said: the rest stays a hole
    STRATA_TRY(WriteAllAt(files, to, std::span(buffer).first(got), offset));
    offset += static_cast<off_t>(got);
  }
  return {};
}

Result<> CopyExtent(FileOps& files, int from, int to, off_t offset, off_t end) {
  if (static_cast<std::size_t>(end - offset) <= kSmallCopy) {
    return PlainCopy(files, from, to, offset, end);
  }
  while (offset < end) {
    const std::size_t want = std::min(kCopyChunk, static_cast<std::size_t>(end - offset));
    auto done = files.CopyRange(from, offset, to, offset, want);
    if (!done) {
      if (NeedsPlainCopy(done.error().code())) return PlainCopy(files, from, to, offset, end);
      return std::unexpected(std::move(done).error());
    }
    if (*done == 0) return {};
    offset += static_cast<off_t>(*done);
  }
  return {};
}

// Keeps a directory's times while an entry that was visible before is put into it.
class KeepTimes {
 public:
  KeepTimes(FileOps& files, int dir) : files_(files), dir_(dir) {
    if (auto st = files_.Stat(dir_)) st_ = *st;
  }
  ~KeepTimes() {
    if (!st_) return;
    const struct timespec times[2] = {st_->st_atim, st_->st_mtim};
    Ignore(files_.Utimes(dir_, times), "times of a directory after a copy-up into it");
  }
  KeepTimes(const KeepTimes&) = delete;
  KeepTimes& operator=(const KeepTimes&) = delete;

 private:
  FileOps& files_;
  int dir_;
  std::optional<struct stat> st_;
};

}  // namespace

Result<> UnionEngine::EnsureUpper(NodeIndex node, std::optional<off_t> size_limit) {
  if (!layers_->writable()) return Fail(EROFS, "copy-up");
  node = Current(node);
  const bool directory = nodes_->With(node, [](NodeRecord& r) { return r.Is(kNodeDirectory); });
  return directory ? EnsureUpperDir(node) : EnsureUpperFile(node, size_limit);
}

Result<> UnionEngine::EnsureUpperDir(NodeIndex node) {
  if (!layers_->writable()) return Fail(EROFS, "copy-up");
  STRATA_TRY_ASSIGN(const DirectoryRef dir, Dir(node));
  if (HasUpper(*dir)) return {};
  for (int race = 0; race < kMaxRaces; ++race) {
    const NodeView view = nodes_->View(node);
    if (view.Is(kNodeOrphan)) return CopyUpRemovedDir(*dir);
    STRATA_TRY(EnsureUpperDir(view.parent));
    STRATA_TRY_ASSIGN(const DirectoryRef parent, Dir(view.parent));
    STRATA_TRY(EnsureLoaded(*parent));

    const Flights::Hold flight(flights_, node);
    if (HasUpper(*dir)) return {};
    STRATA_TRY_ASSIGN(const SharedFd parent_fd, Fd(*parent, kUpperLayer));
    STRATA_TRY_ASSIGN(const SharedFd from, Fd(*dir, view.layer));
    STRATA_TRY_ASSIGN(const struct stat st, env_.files.Stat(from->get()));

    StagedEntry staged(*work_, work_->TempName());
    STRATA_TRY(env_.files.MakeDir(work_->fd(), staged.c_str(), 0700));
    STRATA_TRY_ASSIGN(UniqueFd to, env_.files.Open(work_->fd(), staged.c_str(),
                                                   O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    MarkIno(to.get(), view.ino);
    STRATA_TRY(CopyAttributes(from->get(), st, to.get()));

    WriteLock lock(parent->mu);
    const NodeView now = nodes_->View(node);
    if (now.parent != view.parent || now.name_text != view.name_text) continue;
    const Slot slot = parent->names.Find(view.name_text);
    if (now.Is(kNodeOrphan) || slot == NameTable::kNone) return Fail(ENOENT, "copy-up");
    {
      const KeepTimes times(env_.files, parent_fd->get());
      STRATA_TRY(env_.files.Rename(work_->fd(), staged.c_str(), parent_fd->get(),
                                   view.name_text.c_str(), RENAME_NOREPLACE));
      staged.Published();
    }
    STRATA_TRY_ASSIGN(const struct stat made, env_.files.Stat(to.get()));
    std::vector<LayerIndex> merged = parent->names.MergedLayers(slot);
    merged.insert(merged.begin(), kUpperLayer);
    parent->names.SetMergedLayers(slot, merged);
    parent->names.at(slot).lower_exists = true;
    {
      MutexLock stack_lock(dir->stack_mu);
      dir->stack.insert(dir->stack.begin(), {kUpperLayer, std::nullopt,
                                             std::make_shared<const UniqueFd>(std::move(to))});
    }
    RememberFd(*dir, kUpperLayer);
    nodes_->With(node, [&](NodeRecord& record) {
      record.layer = kUpperLayer;
      record.real_ino = made.st_ino;
    });
    ++copy_ups_;
    return {};
  }
  return Fail(EIO, "copy-up", "the directory kept moving");
}

// A removed directory that is still open gets a copy without a name, for its attributes to change
// in.
Result<> UnionEngine::CopyUpRemovedDir(Directory& dir) {
  const Flights::Hold flight(flights_, dir.index);
  if (HasUpper(dir)) return {};
  const NodeView view = nodes_->View(dir.index);
  STRATA_TRY_ASSIGN(const SharedFd from, Fd(dir, view.layer));
  STRATA_TRY_ASSIGN(const struct stat st, env_.files.Stat(from->get()));
  const StagedEntry staged(*work_, work_->TempName());
  STRATA_TRY(env_.files.MakeDir(work_->fd(), staged.c_str(), 0700));
  STRATA_TRY_ASSIGN(UniqueFd to, env_.files.Open(work_->fd(), staged.c_str(),
                                                 O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  MarkIno(to.get(), view.ino);
  STRATA_TRY(CopyAttributes(from->get(), st, to.get()));
  STRATA_TRY_ASSIGN(const struct stat made, env_.files.Stat(to.get()));
  MutexLock lock(dir.stack_mu);
  dir.stack.insert(dir.stack.begin(),
                   {kUpperLayer, std::nullopt, std::make_shared<const UniqueFd>(std::move(to))});
  nodes_->With(dir.index, [&](NodeRecord& record) {
    record.layer = kUpperLayer;
    record.real_ino = made.st_ino;
  });
  return {};
}

Result<> UnionEngine::EnsureUpperFile(NodeIndex node, std::optional<off_t> size_limit) {
  for (int race = 0; race < kMaxRaces; ++race) {
    node = Current(node);
    NodeView view = nodes_->View(node);
    if (view.layer == kUpperLayer) return {};
    if (!view.Is(kNodeOrphan)) STRATA_TRY(EnsureUpperDir(view.parent));

    const Flights::Hold flight(flights_, node);
    view = nodes_->View(node);
    if (view.layer == kUpperLayer) return {};
    if (view.Is(kNodeRetired)) continue;
    if (!view.Is(kNodeOrphan)) {
      STRATA_TRY_ASSIGN(const DirectoryRef parent, Dir(view.parent));
      if (!HasUpper(*parent)) continue;  // linked elsewhere meanwhile
    }
    return CopyUpFile(node, view, size_limit);
  }
  return Fail(EIO, "copy-up", "the file kept moving");
}

Result<> UnionEngine::CopyUpFile(NodeIndex node, const NodeView& view,
                                 std::optional<off_t> size_limit) {
  const bool regular = view.Is(kNodeRegular);
  STRATA_TRY_ASSIGN(const SharedFd from, OpenNode(node, regular ? O_RDONLY : O_PATH));
  STRATA_TRY_ASSIGN(const struct stat st, env_.files.Stat(from->get()));

  std::optional<std::string> origin;
  {
    STRATA_TRY_ASSIGN(const DirectoryRef parent, Dir(view.parent));
    STRATA_TRY_ASSIGN(const SharedFd dir, Fd(*parent, view.layer));
    origin = OriginHandle(dir->get(), view.name_text.c_str());
  }
  std::optional<std::string> index_name;
  if (st.st_nlink > 1 && origin) {
    index_name =
        HexEncode(std::span(reinterpret_cast<const std::uint8_t*>(origin->data()), origin->size()));
  }
  STRATA_TRY_ASSIGN(StagedFile staged, StageCopy(from->get(), st, size_limit, view.ino, origin));
  STRATA_TRY(PublishFile(node, std::move(staged), index_name, st.st_nlink));
  ++copy_ups_;
  return {};
}

Result<StagedFile> UnionEngine::StageCopy(int from, const struct stat& st,
                                          std::optional<off_t> size_limit, std::uint64_t ino,
                                          const std::optional<std::string>& origin) {
  StagedFile staged;
  if (S_ISREG(st.st_mode)) {
    STRATA_TRY_ASSIGN(staged, work_->StageFile());
    const off_t size = size_limit ? std::min(*size_limit, st.st_size) : st.st_size;
    STRATA_TRY(CopyData(from, staged.fd.get(), size, st));
  } else {
    const int work = work_->fd();
    staged.entry = std::make_unique<StagedEntry>(*work_, work_->TempName());
    const char* name = staged.entry->c_str();
    if (S_ISLNK(st.st_mode)) {
      STRATA_TRY_ASSIGN(const std::string target, env_.files.ReadLink(from, ""));
      STRATA_TRY(env_.files.SymLink(target.c_str(), work, name));
    } else {
      STRATA_TRY(env_.files.MakeNode(work, name, (st.st_mode & S_IFMT) | 0600, st.st_rdev));
    }
    STRATA_TRY_ASSIGN(staged.fd, env_.files.Open(work, name, O_PATH | O_NOFOLLOW));
  }
  if (origin) SetMark(staged.fd.get(), layers_->xattrs().Origin(), *origin);
  // Where the origin tells the number, a second xattr would often be the one that takes a block.
  if (!origin || InoOfOrigin(*origin) != ino) MarkIno(staged.fd.get(), ino);
  STRATA_TRY(CopyAttributes(from, st, staged.fd.get()));
  if (S_ISREG(st.st_mode)) {
    if (st.st_size > 0) STRATA_TRY(OrderData(staged.fd.get()));
    // From here on nobody has it open for writing: it may be executed once it has its name.
    STRATA_TRY_ASSIGN(staged.fd,
                      env_.files.Open(AT_FDCWD, ProcFdPath(staged.fd.get()).c_str(), O_PATH));
  }
  return staged;
}

Result<> UnionEngine::OrderData(int file) {
  switch (data_order_) {
    case DataOrder::kNone:
      return {};
    case DataOrder::kWriteOut:
      return env_.files.WriteOut(file);
    case DataOrder::kSync:
      return env_.files.Sync(file);
  }
  return {};
}

Result<> UnionEngine::CopyData(int from, int to, off_t size, const struct stat& st) {
  if (size == 0) return {};
  copied_bytes_ += static_cast<std::uint64_t>(size);
  constexpr off_t kStatBlock = 512;
  if (st.st_blocks * kStatBlock >= st.st_size) return CopyExtent(env_.files, from, to, 0, size);

  off_t offset = 0;
  while (offset < size) {
    auto data = env_.files.Seek(from, offset, SEEK_DATA);
    if (!data) {
      if (data.error().code() == ENXIO) break;  // a hole up to the end
      return std::unexpected(std::move(data).error());
    }
    if (*data >= size) break;
    STRATA_TRY_ASSIGN(const off_t hole, env_.files.Seek(from, *data, SEEK_HOLE));
    offset = std::min(hole, size);
    STRATA_TRY(CopyExtent(env_.files, from, to, *data, offset));
  }
  return env_.files.Truncate(to, size);
}

Result<> UnionEngine::CopyAttributes(int from, const struct stat& st, int to) {
  STRATA_TRY(env_.files.ChownAt(to, "", st.st_uid, st.st_gid, AT_EMPTY_PATH));
  if (!S_ISLNK(st.st_mode)) STRATA_TRY(env_.files.ChmodAt(to, "", st.st_mode & kPermissions));
  STRATA_TRY(CopyXattrs(from, to));
  const struct timespec times[2] = {st.st_atim, st.st_mtim};
  return env_.files.UtimesAt(to, "", times, AT_EMPTY_PATH);
}

Result<> UnionEngine::CopyXattrs(int from, int to) {
  auto names = env_.files.ListXattr(from);
  if (!names) {
    if (names.error().code() == EOPNOTSUPP) return {};
    return std::unexpected(std::move(names).error());
  }
  for (const std::string& name : *names) {
    const OverlayXattrs& overlay = layers_->xattrs();
    if (overlay.IsPrivate(name) && !overlay.IsEscaped(name)) continue;
    auto value = env_.files.GetXattr(from, name.c_str());
    if (!value) {
      if (value.error().code() == ENODATA) continue;
      return std::unexpected(std::move(value).error().WithContext(name));
    }
    auto set = env_.files.SetXattr(to, name.c_str(), *value);
    if (!set) return std::unexpected(std::move(set).error().WithContext(name));
  }
  return {};
}

void UnionEngine::MarkIno(int fd, std::uint64_t ino) {
  SetMark(fd, layers_->xattrs().Inode(), std::to_string(ino));
}

void UnionEngine::SetMark(int fd, const std::string& name, std::string_view value) {
  Ignore(env_.files.SetXattr(fd, name.c_str(), value), "mark on an upper file");
}

Result<> UnionEngine::PublishFile(NodeIndex node, StagedFile staged,
                                  const std::optional<std::string>& index_name,
                                  nlink_t lower_links) {
  STRATA_TRY_ASSIGN(const struct stat made, env_.files.Stat(staged.fd.get()));

  for (int race = 0; race < kMaxRaces; ++race) {
    const NodeView view = nodes_->View(node);
    STRATA_TRY_ASSIGN(const DirectoryRef parent, Dir(view.parent));
    SharedFd parent_fd;
    if (!view.Is(kNodeOrphan)) {
      STRATA_TRY(EnsureLoaded(*parent));
      STRATA_TRY_ASSIGN(parent_fd, Fd(*parent, kUpperLayer));
    }
    WriteLock lock(parent->mu);
    const NodeView now = nodes_->View(node);
    if (now.parent != view.parent || now.name_text != view.name_text ||
        now.Is(kNodeOrphan) != view.Is(kNodeOrphan)) {
      continue;
    }
    const Moving moving(*this);
    if (index_name) {
      STRATA_TRY(work_->LinkStaged(staged, work_->index_fd(), index_name->c_str()));
      links_->AddIndexed(*index_name);
      index_names_.Put(node, std::make_shared<const std::string>(*index_name));
    }
    if (view.Is(kNodeOrphan)) {
      // Deleted while it was copied: it lives on as a file without a name, in work/ no longer than
      // this.
      orphans_.Put(node, std::make_shared<const UniqueFd>(std::move(staged.fd)));
    } else {
      const Slot slot = parent->names.Find(view.name_text);
      if (slot == NameTable::kNone) return Fail(ENOENT, "copy-up");
      const KeepTimes times(env_.files, parent_fd->get());
      STRATA_TRY(work_->PlaceStaged(staged, parent_fd->get(), view.name_text.c_str()));
      parent->names.at(slot).layer = kUpperLayer;
      parent->names.at(slot).lower_exists = true;
    }
    WeakNode weak{node, 0};
    nodes_->With(node, [&](NodeRecord& record) {
      record.layer = kUpperLayer;
      record.real_ino = made.st_ino;
      if (index_name) {
        record.Set(kNodeIndexed);
        // Shown: as many as before. Real: the index entry and the one name that is in the upper
        // layer by now.
        record.nlink_delta = static_cast<std::int32_t>(lower_links) - 2;
      }
      weak.generation = record.generation;
    });
    if (index_name) links_->Put({layers_->filesystem(kUpperLayer), made.st_ino}, weak);
    break;
  }
  if (index_name) StoreLinkDelta(node);
  return {};
}

void UnionEngine::StoreLinkDelta(NodeIndex node) {
  const NodeView view = nodes_->View(node);
  const auto name = index_names_.Find(node);
  if (!name) return;
  auto fd = env_.files.Open(work_->index_fd(), name->c_str(), O_PATH | O_NOFOLLOW);
  if (!fd) {
    log::Warn("no index entry to keep the link count in", {{"entry", *name}});
    return;
  }
  const char* sign = view.nlink_delta < 0 ? "U" : "U+";
  SetMark(fd->get(), layers_->xattrs().LinkCount(), sign + std::to_string(view.nlink_delta));
}

}  // namespace strata::fusefs
