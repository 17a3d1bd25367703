// Copy-up: staged in the work directory, then given its name in one step. Data, owner, mode,
// xattrs, times, in that order: writing data clears setuid and capabilities, changing the owner
// too, and everything touches the times.
//
// durability: after a crash the file is the lower one or the whole copy, never a part of it
// (data_order.h; not on a volatile upper); its name is as durable as the next fsync of the file,
// which on the filesystems we write to covers the name.
#include <algorithm>
#include <array>

#include "base/hex.h"
#include "base/logging.h"
#include "base/path.h"
#include "base/try.h"
#include "fusefs/union/data_copy.h"
#include "fusefs/union/union_engine.h"

namespace strata::fusefs {
namespace {

// Shown links less those of the upper inode, in the kernel's form.
std::string LinkCountMark(std::int32_t delta) {
  return (delta < 0 ? "U" : "U+") + std::to_string(delta);
}

// Not the file's, but how its filesystem shows its own rights (system.nfs4_acl, system.cifs_acl).
bool IsOfFilesystem(std::string_view xattr) {
  return xattr.starts_with("system.") && xattr != kAccessAcl && xattr != kDefaultAcl;
}

}  // namespace

Result<> UnionEngine::EnsureUpper(NodeIndex node, CopyUpNeed need) {
  if (!layers_->writable()) return Fail(EROFS, "copy-up");
  node = Current(node);
  const bool directory = nodes_->With(node, [](NodeRecord& r) { return r.Is(kNodeDirectory); });
  return directory ? EnsureUpperDir(node) : EnsureUpperFile(node, need);
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
      dir->stack.insert(
          dir->stack.begin(),
          StackEntry{.layer = kUpperLayer, .fd = std::make_shared<const UniqueFd>(std::move(to))});
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
  dir.stack.insert(
      dir.stack.begin(),
      StackEntry{.layer = kUpperLayer, .fd = std::make_shared<const UniqueFd>(std::move(to))});
  nodes_->With(dir.index, [&](NodeRecord& record) {
    record.layer = kUpperLayer;
    record.real_ino = made.st_ino;
  });
  return {};
}

bool UnionEngine::Serves(const NodeRecord& record, const CopyUpNeed& need) {
  if (record.layer != kUpperLayer) return false;
  switch (need.data) {
    case DataNeed::kNone:
      return true;
    case DataNeed::kWritable:
      return !record.Is(kNodeBorrows);
    case DataNeed::kWhole:
      return !record.Is(kNodeBorrows) && !record.Is(kNodePartial);
  }
  return false;
}

Result<> UnionEngine::EnsureUpperFile(NodeIndex node, CopyUpNeed need) {
  for (int race = 0; race < kMaxRaces; ++race) {
    node = Current(node);
    NodeView view = nodes_->View(node);
    if (Serves(view, need)) return {};
    const bool lower = view.layer != kUpperLayer;
    if (lower && !view.Is(kNodeOrphan)) STRATA_TRY(EnsureUpperDir(view.parent));

    const Flights::Hold flight(flights_, node);
    view = nodes_->View(node);
    if (Serves(view, need)) return {};
    if (view.Is(kNodeRetired)) continue;
    if (view.layer != kUpperLayer) {
      if (!view.Is(kNodeOrphan)) {
        STRATA_TRY_ASSIGN(const DirectoryRef parent, Dir(view.parent));
        if (!HasUpper(*parent)) continue;  // linked elsewhere meanwhile
      }
      STRATA_TRY(CopyUpFile(node, view, need));
      if (Serves(nodes_->View(node), need)) return {};
    }
    return TakeData(node, need);
  }
  return Fail(EIO, "copy-up", "the file kept moving");
}

Result<> UnionEngine::CopyUpFile(NodeIndex node, const NodeView& view, CopyUpNeed need) {
  const bool regular = view.Is(kNodeRegular);
  STRATA_TRY_ASSIGN(const SharedFd from, OpenNode(node, regular ? O_RDONLY : O_PATH));
  STRATA_TRY_ASSIGN(struct stat st, env_.files.Stat(from->get()));
  FoundName found{};
  if (layers_->InChain(view.layer)) {
    // Links to the inode that are not in the index are no names of this file.
    STRATA_TRY_ASSIGN(const ChainEntry entry, layers_->index().At(view.entry));
    st.st_nlink = entry.attr.st_nlink;
    found.identity = entry.identity;
  }
  SharedFd data = from;
  if (view.Is(kNodeBorrows)) {
    STRATA_TRY_ASSIGN(data, OpenLowerData(node));
  }

  CopySource source{from->get(), data->get(), st, view.ino, {}, {}};
  STRATA_TRY_ASSIGN(const DirectoryRef parent, Dir(view.parent));
  {
    STRATA_TRY_ASSIGN(const SharedFd dir, Fd(*parent, view.layer));
    found.st = st;
    found.dir = dir->get();
    source.origin = OriginOf(view.layer, view.name_text, found);
  }
  if (regular && MayBorrow(st, need)) {
    MutexLock lock(parent->stack_mu);
    STRATA_TRY_ASSIGN(const std::string above, LowerUnionPathLocked(*parent));
    source.lower_path = JoinPath(above, view.name_text);
  }
  std::optional<std::string> index_name;
  if (st.st_nlink > 1) index_name = HexEncode(source.origin);
  STRATA_TRY_ASSIGN(StagedCopy staged, StageCopy(source, need));
  STRATA_TRY(PublishFile(node, std::move(staged), index_name, st.st_nlink));
  ++copy_ups_;
  return {};
}

bool UnionEngine::MayBorrow(const struct stat& st, const CopyUpNeed& need) const {
  const auto size =
      static_cast<std::uint64_t>(std::min(need.size.value_or(st.st_size), st.st_size));
  switch (need.data) {
    case DataNeed::kNone:
      return options_.metacopy && size >= std::max<std::uint64_t>(1, options_.metacopy_threshold);
    case DataNeed::kWritable:
      return options_.partial_copy_up &&
             size >= std::max<std::uint64_t>(1, options_.copy_up_threshold);
    case DataNeed::kWhole:
      return false;
  }
  return false;
}

Result<bool> UnionEngine::StageData(const CopySource& from, CopyUpNeed need, int to) {
  FileOps& files = env_.files;
  const off_t size = std::min(need.size.value_or(from.st.st_size), from.st.st_size);
  // Shared blocks are as good as copied ones, and cost next to nothing.
  if (size == from.st.st_size && cloning_.Try(from.data, to, size)) return false;
  if (MayBorrow(from.st, need)) {
    const OverlayXattrs& xattrs = layers_->xattrs();
    auto marked = files.SetXattr(to, xattrs.Redirect().c_str(), "/" + from.lower_path);
    if (marked) marked = files.SetXattr(to, xattrs.Metacopy().c_str(), "");
    if (marked) {
      STRATA_TRY(files.Truncate(to, from.st.st_size));
      return true;
    }
    // A file that cannot say where its data is must have it.
    log::Debug("copied as a whole", {{"error", marked.error().ToString()}});
    Ignore(files.RemoveXattr(to, xattrs.Redirect().c_str()), "half of the marks");
  }
  STRATA_TRY(CopyData(from.data, to, size, from.st));
  return false;
}

Result<UnionEngine::StagedCopy> UnionEngine::StageCopy(const CopySource& from, CopyUpNeed need) {
  StagedCopy copy;
  StagedFile& staged = copy.file;
  const mode_t mode = from.st.st_mode;
  if (S_ISREG(mode)) {
    STRATA_TRY_ASSIGN(staged, work_->StageFile());
    STRATA_TRY_ASSIGN(copy.borrows, StageData(from, need, staged.fd.get()));
  } else {
    const int work = work_->fd();
    staged.entry = std::make_unique<StagedEntry>(*work_, work_->TempName());
    const char* name = staged.entry->c_str();
    if (S_ISLNK(mode)) {
      STRATA_TRY_ASSIGN(const std::string target, env_.files.ReadLink(from.attributes, ""));
      STRATA_TRY(env_.files.SymLink(target.c_str(), work, name));
    } else {
      STRATA_TRY(env_.files.MakeNode(work, name, (mode & S_IFMT) | 0600, from.st.st_rdev));
    }
    STRATA_TRY_ASSIGN(staged.fd, env_.files.Open(work, name, O_PATH | O_NOFOLLOW));
  }
  SetMark(staged.fd.get(), layers_->xattrs().Origin(), from.origin);
  // Where the origin tells the number, a second xattr would often be the one that takes a block.
  if (layers_->InoOfOrigin(from.origin) != from.shown_ino) {
    MarkIno(staged.fd.get(), from.shown_ino);
  }
  STRATA_TRY(CopyAttributes(from.attributes, from.st, staged.fd.get()));
  if (S_ISREG(mode)) {
    const bool needs_order = copy.borrows ? data_order_ == DataOrder::kSync : from.st.st_size > 0;
    if (needs_order) STRATA_TRY(OrderData(staged.fd.get()));
    // From here on nobody has it open for writing: it may be executed once it has its name.
    STRATA_TRY_ASSIGN(staged.fd,
                      env_.files.Open(AT_FDCWD, ProcFdPath(staged.fd.get()).c_str(), O_PATH));
  }
  return copy;
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
  return CopyContent(env_.files, from, st, to, size);
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
    if (IsOfFilesystem(name)) continue;
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

Result<> UnionEngine::PublishFile(NodeIndex node, StagedCopy copy,
                                  const std::optional<std::string>& index_name,
                                  nlink_t lower_links) {
  StagedFile& staged = copy.file;
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
    if (index_name) STRATA_TRY(AddToIndex(node, staged, *index_name, lower_links));
    if (view.Is(kNodeOrphan)) {
      // Deleted while it was copied: it lives on as a file without a name, in work/ no longer than
      // this.
      orphans_.Put(node, std::make_shared<const UniqueFd>(std::move(staged.fd)));
    } else {
      const Slot slot = parent->names.Find(view.name_text);
      Result<> placed = Fail(ENOENT, "copy-up");
      if (slot != NameTable::kNone) {
        const KeepTimes times(env_.files, parent_fd->get());
        placed = work_->PlaceStaged(staged, parent_fd->get(), view.name_text.c_str());
      }
      if (!placed) {
        if (index_name) TakeFromIndex(node, *index_name);
        return placed;
      }
      parent->names.at(slot).layer = kUpperLayer;
      parent->names.at(slot).lower_exists = true;
    }
    WeakNode weak{node, 0};
    nodes_->With(node, [&](NodeRecord& record) {
      record.layer = kUpperLayer;
      record.real_ino = made.st_ino;
      record.Clear(kNodeBorrows);
      if (copy.borrows) record.Set(kNodeBorrows);
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

// The count of links is there first, and right for an entry without a name. A crash before it is
// set right for the name as well shows a link too many; one too few would let the last of them be
// taken for none.
Result<> UnionEngine::AddToIndex(NodeIndex node, const StagedFile& staged, const std::string& name,
                                 nlink_t lower_links) {
  auto marked = env_.files.SetXattr(staged.fd.get(), layers_->xattrs().LinkCount().c_str(),
                                    LinkCountMark(static_cast<std::int32_t>(lower_links) - 1));
  if (!marked && marked.error().code() != EOPNOTSUPP) return marked;
  STRATA_TRY(work_->LinkStaged(staged, work_->index_fd(), name.c_str()));
  links_->AddIndexed(name);
  index_names_.Put(node, std::make_shared<const std::string>(name));
  return {};
}

void UnionEngine::TakeFromIndex(NodeIndex node, const std::string& name) {
  index_names_.Take(node);
  links_->RemoveIndexed(name);
  Ignore(env_.files.Unlink(work_->index_fd(), name.c_str()), "index entry without names");
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
  SetMark(fd->get(), layers_->xattrs().LinkCount(), LinkCountMark(view.nlink_delta));
}

}  // namespace strata::fusefs
