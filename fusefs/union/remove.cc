// Names that go away, and the whiteouts that keep lower names from showing again.
#include <dirent.h>

#include "base/logging.h"
#include "base/try.h"
#include "fusefs/union/union_engine.h"

namespace strata::fusefs {

SharedFd UnionEngine::Keep(const Directory& dir, const std::string& name, WeakNode node,
                           int upper) {
  if (!nodes_->TryPin(node)) return nullptr;
  const NodeView view = nodes_->View(node.index);
  SharedFd kept;
  // Lower files stay where they are, indexed ones keep their index entry, and another name leads on
  // to the file.
  if (view.layer == kUpperLayer && !view.Is(kNodeIndexed) && !view.Is(kNodeOrphan) &&
      view.parent == dir.index && view.name_text == name) {
    auto fd = env_.files.Open(upper, name.c_str(), O_PATH | O_NOFOLLOW);
    if (fd) {
      kept = std::make_shared<const UniqueFd>(std::move(*fd));
    } else {
      log::Debug("a file to be removed cannot be held", {{"error", fd.error().ToString()}});
    }
  }
  Drop(node.index, 0, 1);
  return kept;
}

void UnionEngine::Detach(const Directory& dir, std::string_view name, WeakNode node,
                         SharedFd kept) {
  if (!nodes_->TryPin(node)) return;
  const NodeView view = nodes_->View(node.index);
  if (view.parent == dir.index && view.name_text == name && !view.Is(kNodeOrphan)) {
    if (kept) orphans_.Put(node.index, std::move(kept));
    nodes_->With(node.index, [](NodeRecord& record) {
      if (!record.Is(kNodeIndexed)) record.Set(kNodeOrphan);
    });
  }
  Drop(node.index, 0, 1);
}

void UnionEngine::ForgetName(Directory& dir, Slot slot) {
  ++dir.changes;
  DirSlot& entry = dir.names.at(slot);
  const bool lower_below = entry.layer != kUpperLayer || entry.lower_exists;
  if (!lower_below && !entry.marker) {
    dir.names.Erase(slot);
    return;
  }
  const bool marker = entry.marker || work_->whiteouts() == WhiteoutForm::kFile;
  entry.node = {};
  entry.layer = kUpperLayer;
  entry.merged = 0;
  entry.type = DT_CHR;
  entry.whiteout = true;
  entry.marker = marker;
  entry.lower_exists = lower_below;
}

void UnionEngine::LowerNameGone(NodeIndex node) {
  const bool indexed = nodes_->With(node, [](NodeRecord& record) {
    if (!record.Is(kNodeIndexed)) return false;
    --record.nlink_delta;
    return true;
  });
  if (indexed) StoreLinkDelta(node);
}

void UnionEngine::CollectIndexEntry(NodeIndex node) {
  const NodeView view = nodes_->View(node);
  const auto name = index_names_.Find(node);
  if (!view.Is(kNodeIndexed) || !name) return;
  auto fd = env_.files.Open(work_->index_fd(), name->c_str(), O_PATH | O_NOFOLLOW);
  if (!fd) return;
  auto st = env_.files.Stat(fd->get());
  if (!st || static_cast<std::int64_t>(st->st_nlink) + view.nlink_delta > 0) return;
  orphans_.Put(node, std::make_shared<const UniqueFd>(std::move(*fd)));
  nodes_->With(node, [](NodeRecord& record) {
    record.Clear(kNodeIndexed);
    record.Set(kNodeOrphan);
    record.nlink_delta = 0;
  });
  TakeFromIndex(node, *name);
}

Result<> UnionEngine::RemoveFileName(Directory& dir, Slot slot, int upper) {
  const DirSlot entry = dir.names.at(slot);
  const std::string name(dir.names.NameOf(slot));
  FileOps& files = env_.files;
  const Moving moving(*this);
  const WeakNode node = Current(entry.node);
  SharedFd kept = entry.layer == kUpperLayer ? Keep(dir, name, node, upper) : nullptr;

  if (entry.layer != kUpperLayer) {
    STRATA_TRY(work_->AddWhiteout(upper, name));
    if (node.index != 0) LowerNameGone(node.index);
  } else if (!entry.lower_exists) {
    STRATA_TRY(files.Unlink(upper, name.c_str()));
  } else if (work_->whiteouts() == WhiteoutForm::kFile) {
    STRATA_TRY(work_->AddWhiteout(upper, name));
    STRATA_TRY(files.Unlink(upper, name.c_str()));
  } else {
    STRATA_TRY_ASSIGN(std::string whiteout, work_->StageWhiteout());
    StagedEntry staged(*work_, std::move(whiteout));
    STRATA_TRY(files.Rename(work_->fd(), staged.c_str(), upper, name.c_str()));
    staged.Published();
  }
  Detach(dir, name, node, std::move(kept));
  ForgetName(dir, slot);
  if (node.index != 0) CollectIndexEntry(node.index);
  return {};
}

Result<> UnionEngine::Unlink(NodeId parent, std::string_view name) {
  if (!layers_->writable()) return Fail(EROFS, "unlink");
  STRATA_TRY_ASSIGN(const EntryReply entry, Lookup(parent, name));
  const Held file(*this, entry);
  if (S_ISDIR(file.attr().st_mode)) return Fail(EISDIR, "unlink");
  STRATA_TRY_ASSIGN(const DirectoryRef dir, Dir(static_cast<NodeIndex>(parent.value)));
  // The other names of a lower link group must count one less from now on, which only an upper
  // inode can record.
  if (file.attr().st_nlink > 1) STRATA_TRY(EnsureUpper(file.index()));
  STRATA_TRY(EnsureUpperDir(dir->index));
  STRATA_TRY_ASSIGN(const SharedFd upper, Fd(*dir, kUpperLayer));

  WriteLock lock(dir->mu);
  const Slot slot = dir->names.Find(name);
  if (slot == NameTable::kNone || dir->names.at(slot).whiteout) return Fail(ENOENT, "unlink");
  if (dir->names.at(slot).type == DT_DIR) return Fail(EISDIR, "unlink");
  return RemoveFileName(*dir, slot, upper->get());
}

Result<> UnionEngine::ClearWhiteouts(int upper, const std::string& name) {
  FileOps& files = env_.files;
  STRATA_TRY_ASSIGN(const UniqueFd fd,
                    files.Open(upper, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  STRATA_TRY_ASSIGN(const std::vector<std::string> names, NamesIn(files, fd.get()));
  if (names.empty()) return {};
  STRATA_TRY(files.SetXattr(fd.get(), layers_->xattrs().Opaque().c_str(), "y"));
  for (const std::string& child : names) STRATA_TRY(files.Unlink(fd.get(), child.c_str()));
  return {};
}

Result<> UnionEngine::RemoveDirName(Directory& dir, Slot slot, int upper) {
  const DirSlot entry = dir.names.at(slot);
  const std::string name(dir.names.NameOf(slot));
  FileOps& files = env_.files;
  if (entry.layer != kUpperLayer) return work_->AddWhiteout(upper, name);

  if (!entry.lower_exists) {
    auto removed = files.Unlink(upper, name.c_str(), AT_REMOVEDIR);
    if (removed || removed.error().code() != ENOTEMPTY) return removed;
  } else if (work_->whiteouts() == WhiteoutForm::kFile) {
    STRATA_TRY(work_->AddWhiteout(upper, name));
  } else {
    // Exchanged in one step; the directory, with the whiteouts in it, ends up in the work
    // directory.
    STRATA_TRY_ASSIGN(std::string whiteout, work_->StageWhiteout());
    const StagedEntry staged(*work_, std::move(whiteout));
    return files.Rename(work_->fd(), staged.c_str(), upper, name.c_str(), RENAME_EXCHANGE);
  }
  const StagedEntry staged(*work_, work_->TempName());
  return files.Rename(upper, name.c_str(), work_->fd(), staged.c_str());
}

void UnionEngine::KeepParts(Directory& dir, const std::vector<LayerFd>& parts) {
  MutexLock lock(dir.stack_mu);
  for (StackEntry& part : dir.stack) {
    for (const LayerFd& kept : parts) {
      if (kept.layer == part.layer && !part.fd) part.fd = kept.fd;
    }
  }
}

Result<> UnionEngine::RemoveDir(NodeId parent, std::string_view name_view) {
  if (!layers_->writable()) return Fail(EROFS, "rmdir");
  const std::string name(name_view);
  STRATA_TRY_ASSIGN(const EntryReply entry, Lookup(parent, name));
  const Held held(*this, entry);
  if (!S_ISDIR(held.attr().st_mode)) return Fail(ENOTDIR, "rmdir");
  STRATA_TRY_ASSIGN(const DirectoryRef dir, Dir(static_cast<NodeIndex>(parent.value)));
  STRATA_TRY_ASSIGN(const DirectoryRef child, Dir(held.index()));
  STRATA_TRY(EnsureLoaded(*child));
  {
    ReadLock lock(child->mu);
    if (child->names.HasVisible()) return Fail(ENOTEMPTY, "rmdir");
  }
  STRATA_TRY(EnsureUpperDir(dir->index));
  STRATA_TRY_ASSIGN(const SharedFd upper, Fd(*dir, kUpperLayer));
  // From now on it has no name to be opened by.
  STRATA_TRY_ASSIGN(const std::vector<LayerFd> parts, Fds(*child));

  WriteLock lock(dir->mu);
  WriteLock child_lock(child->mu);
  STRATA_TRY(RemoveDirLocked(*dir, *child, name, upper->get()));
  KeepParts(*child, parts);
  return {};
}

Result<> UnionEngine::RemoveDirLocked(Directory& dir, Directory& child, const std::string& name,
                                      int upper) {
  const Slot slot = dir.names.Find(name);
  if (slot == NameTable::kNone || dir.names.at(slot).whiteout) return Fail(ENOENT, "rmdir");
  if (Current(dir.names.at(slot).node).index != child.index) return Fail(ENOENT, "rmdir");
  if (child.names.HasVisible()) return Fail(ENOTEMPTY, "rmdir");
  STRATA_TRY(RemoveDirName(dir, slot, upper));
  child.dead = true;
  nodes_->With(child.index, [](NodeRecord& record) { record.Set(kNodeOrphan); });
  ForgetName(dir, slot);
  return {};
}

}  // namespace strata::fusefs
