// Rename. Files are copied up and moved; directories keep their lower parts through a redirect
// mark, so no rename ends in EXDEV. What the lower layers have under the old name is covered by a
// whiteout in the same step.
//
// The two directories are locked ancestor first. A rename that crosses directories or moves one
// also holds rename_mu_, so that no two of them can wait for each other and no path changes while a
// descriptor is looked for.
#include <dirent.h>

#include "base/path.h"
#include "base/try.h"
#include "fusefs/union/data_copy.h"
#include "fusefs/union/union_engine.h"

namespace strata::fusefs {
namespace {

bool LacksRenameWhiteout(int code) {
  return code == EINVAL || code == EPERM || code == EOPNOTSUPP || code == ENOSYS;
}

}  // namespace

struct UnionEngine::RenameSide {
  DirectoryRef dir;
  std::string name;
  SharedFd upper;              // of dir
  std::unique_ptr<Held> held;  // nullptr: no such name
  SharedFd file;               // O_PATH, of a file that may have to be linked into place
  DirectoryRef child;          // if it is a directory
  std::vector<LayerFd> child_parts;

  bool exists() const { return held != nullptr; }
  bool is_dir() const { return child != nullptr; }
  NodeIndex node() const { return held->index(); }

  Slot FindSlot() const STRATA_NO_THREAD_SAFETY_ANALYSIS { return dir->names.Find(name); }
  DirSlot& At(Slot slot) const STRATA_NO_THREAD_SAFETY_ANALYSIS { return dir->names.at(slot); }
  // Lower layers have something under this name that must not show once the upper entry is gone.
  bool LowerExists() const {
    const Slot slot = FindSlot();
    return slot != NameTable::kNone && (At(slot).layer != kUpperLayer || At(slot).lower_exists);
  }
  bool HasMarker() const {
    const Slot slot = FindSlot();
    return slot != NameTable::kNone && At(slot).marker;
  }
  bool DeviceWhiteout() const {
    const Slot slot = FindSlot();
    return slot != NameTable::kNone && At(slot).whiteout && !At(slot).marker;
  }
  bool InUpper() const {
    const Slot slot = FindSlot();
    return slot != NameTable::kNone && !At(slot).whiteout && At(slot).layer == kUpperLayer;
  }
};

Result<> UnionEngine::Rename(NodeId from_parent, std::string_view from_name, NodeId to_parent,
                             std::string_view to_name, unsigned flags) {
  constexpr unsigned kBoth = RENAME_NOREPLACE | RENAME_EXCHANGE;
  if ((flags & ~kBoth) != 0 || flags == kBoth) return Fail(EINVAL, "rename");
  if (!layers_->writable()) return Fail(EROFS, "rename");
  STRATA_TRY(CheckNewName(to_name));
  for (int race = 0; race < kMaxRaces; ++race) {
    STRATA_TRY_ASSIGN(RenameSide from,
                      OpenRenameSide(static_cast<NodeIndex>(from_parent.value), from_name, true));
    STRATA_TRY_ASSIGN(RenameSide to, OpenRenameSide(static_cast<NodeIndex>(to_parent.value),
                                                    to_name, (flags & RENAME_EXCHANGE) != 0));
    if (to.exists()) {
      if ((flags & RENAME_NOREPLACE) != 0) return Fail(EEXIST, "rename");
      if (to.node() == from.node())
        return {};  // two names of one file: nothing happens, says POSIX
      if ((flags & RENAME_EXCHANGE) == 0) STRATA_TRY(CheckReplace(from, to));
    }
    STRATA_TRY(PrepareRename(from, to, flags));
    STRATA_TRY_ASSIGN(const bool done, TryRename(from, to, flags));
    if (done) return {};
  }
  return Fail(EIO, "rename", "the names kept changing");
}

Result<UnionEngine::RenameSide> UnionEngine::OpenRenameSide(NodeIndex parent, std::string_view name,
                                                            bool must_exist) {
  RenameSide side;
  STRATA_TRY_ASSIGN(side.dir, Dir(parent));
  side.name = name;
  auto entry = Lookup(NodeId{parent}, name);
  if (!entry) {
    if (must_exist || entry.error().code() != ENOENT) {
      return std::unexpected(std::move(entry).error());
    }
    return side;
  }
  side.held = std::make_unique<Held>(*this, std::move(*entry));
  if (S_ISDIR(side.held->attr().st_mode)) {
    STRATA_TRY_ASSIGN(side.child, Dir(side.node()));
    STRATA_TRY(EnsureLoaded(*side.child));
  }
  return side;
}

Result<> UnionEngine::CheckReplace(const RenameSide& from, const RenameSide& to) {
  if (from.is_dir() && !to.is_dir()) return Fail(ENOTDIR, "rename");
  if (!from.is_dir() && to.is_dir()) return Fail(EISDIR, "rename");
  if (to.is_dir()) {
    ReadLock lock(to.child->mu);
    if (to.child->names.HasVisible()) return Fail(ENOTEMPTY, "rename");
  }
  return {};
}

Result<> UnionEngine::PrepareRename(RenameSide& from, RenameSide& to, unsigned flags) {
  STRATA_TRY(EnsureUpper(from.node()));
  STRATA_TRY(EnsureUpperDir(from.dir->index));
  STRATA_TRY(EnsureUpperDir(to.dir->index));
  if (to.exists()) {
    const bool counts_links = !to.is_dir() && to.held->attr().st_nlink > 1;
    if ((flags & RENAME_EXCHANGE) != 0 || counts_links) STRATA_TRY(EnsureUpper(to.node()));
  }
  for (RenameSide* side : {&from, &to}) {
    STRATA_TRY_ASSIGN(side->upper, Fd(*side->dir, kUpperLayer));
    if (!side->exists()) continue;
    if (side->is_dir()) {
      STRATA_TRY_ASSIGN(side->child_parts, Fds(*side->child));
    } else {
      STRATA_TRY_ASSIGN(side->file, OpenNode(side->node(), O_PATH));
    }
  }
  return {};
}

Result<bool> UnionEngine::TryRename(RenameSide& from, RenameSide& to,
                                    unsigned flags) STRATA_NO_THREAD_SAFETY_ANALYSIS {
  const bool one_directory = from.dir == to.dir;
  if (one_directory && !from.is_dir() && !to.is_dir()) {
    WriteLock lock(from.dir->mu);
    return RenameLocked(from, to, flags);
  }
  WriteLock names(rename_mu_);
  if (one_directory) {
    WriteLock lock(from.dir->mu);
    return RenameLocked(from, to, flags);
  }
  // Ancestor first; of unrelated ones either may come first, as rename_mu_ keeps other renames out.
  bool to_first = false;
  for (NodeIndex up = from.dir->index; up != 0; up = nodes_->View(up).parent) {
    if (up == to.dir->index) to_first = true;
  }
  WriteLock outer(to_first ? to.dir->mu : from.dir->mu);
  WriteLock inner(to_first ? from.dir->mu : to.dir->mu);
  return RenameLocked(from, to, flags);
}

bool UnionEngine::StillAsFound(RenameSide& side) STRATA_NO_THREAD_SAFETY_ANALYSIS {
  if (side.dir->dead) return false;
  const Slot slot = side.FindSlot();
  const bool visible = slot != NameTable::kNone && !side.At(slot).whiteout;
  if (!side.exists()) return !visible;
  return visible && Current(side.At(slot).node).index == Current(side.node());
}

Result<bool> UnionEngine::RenameLocked(RenameSide& from, RenameSide& to,
                                       unsigned flags) STRATA_NO_THREAD_SAFETY_ANALYSIS {
  if (from.dir->dead || to.dir->dead) return Fail(ENOENT, "rename");
  if (!StillAsFound(from) || !StillAsFound(to)) return false;
  const bool exchange = (flags & RENAME_EXCHANGE) != 0;
  const Moving moving(*this);
  STRATA_TRY(PromoteName(from));
  if (exchange) {
    STRATA_TRY(PromoteName(to));
    if (from.is_dir()) STRATA_TRY(MarkMovedDirectory(from, to));
    if (to.is_dir()) STRATA_TRY(MarkMovedDirectory(to, from));
    for (RenameSide* side : {&from, &to}) {
      if (side->is_dir()) STRATA_TRY(FixLowerPaths(*side));
    }
    STRATA_TRY(env_.files.Rename(from.upper->get(), from.name.c_str(), to.upper->get(),
                                 to.name.c_str(), RENAME_EXCHANGE));
    ExchangeInMemory(from, to);
    return true;
  }
  SharedFd kept;
  if (to.exists() && to.is_dir()) {
    WriteLock lock(to.child->mu);
    if (to.child->names.HasVisible()) return Fail(ENOTEMPTY, "rename");
    if (to.InUpper()) STRATA_TRY(ClearWhiteouts(to.upper->get(), to.name));
    to.child->dead = true;
  } else if (to.exists() && to.InUpper()) {
    kept = Keep(*to.dir, to.name, to.At(to.FindSlot()).node, to.upper->get());
  }
  Result<> moved = {};
  if (from.is_dir()) {
    moved = MarkMovedDirectory(from, to);
    if (moved) moved = FixLowerPaths(from);
  }
  if (moved) moved = MoveOnDisk(from, to);
  if (!moved) {
    if (to.exists() && to.is_dir()) {
      WriteLock lock(to.child->mu);
      to.child->dead = false;
    }
    return std::unexpected(std::move(moved).error());
  }
  if (to.exists()) to.file = kept;
  MoveInMemory(from, to);
  return true;
}

Result<> UnionEngine::PromoteName(Directory& dir, Slot slot, NodeIndex node, int upper, int file) {
  DirSlot& entry = dir.names.at(slot);
  if (entry.layer == kUpperLayer) return {};
  const std::string name(dir.names.NameOf(slot));
  STRATA_TRY(
      env_.files.Link(AT_FDCWD, ProcFdPath(file).c_str(), upper, name.c_str(), AT_SYMLINK_FOLLOW));
  entry.layer = kUpperLayer;
  entry.lower_exists = true;
  LowerNameGone(node);
  return {};
}

Result<> UnionEngine::PromoteName(RenameSide& side) STRATA_NO_THREAD_SAFETY_ANALYSIS {
  const int file = side.file ? side.file->get() : -1;
  return PromoteName(*side.dir, side.FindSlot(), side.node(), side.upper->get(), file);
}

Result<> UnionEngine::MarkMovedDirectory(RenameSide& moved, RenameSide& target) {
  const int fd = moved.child_parts.front().fd->get();
  if (moved.child_parts.size() == 1) {
    if (!target.LowerExists() && !target.HasMarker()) return {};
    return env_.files.SetXattr(fd, layers_->xattrs().Opaque().c_str(), "y");
  }
  std::string redirect = "/";
  {
    MutexLock lock(moved.child->stack_mu);
    STRATA_TRY_ASSIGN(const std::string path, LowerUnionPathLocked(*moved.child));
    redirect += path;
  }
  auto set = env_.files.SetXattr(fd, layers_->xattrs().Redirect().c_str(), redirect);
  if (!set && (set.error().code() == E2BIG || set.error().code() == ERANGE ||
               set.error().code() == ENOSPC || set.error().code() == EOPNOTSUPP)) {
    return Fail(EXDEV, "rename", "the filesystem below cannot record where " + redirect + " went");
  }
  return set;
}

Result<> UnionEngine::FixLowerPaths(RenameSide& moved) {
  MutexLock lock(moved.child->stack_mu);
  STRATA_TRY_ASSIGN(moved.child->extras().lower_union_path, LowerUnionPathLocked(*moved.child));
  for (StackEntry& entry : moved.child->stack) {
    if (entry.layer == kUpperLayer || entry.path) continue;
    STRATA_TRY_ASSIGN(std::string path, LowerPathLocked(*moved.child, entry.layer));
    entry.path = std::make_unique<const std::string>(std::move(path));
  }
  return {};
}

// Puts what moves where a whiteout is, and the whiteout where that was.
Result<> UnionEngine::SwapWithWhiteout(RenameSide& from, RenameSide& to) {
  // Of a directory that moves elsewhere in this way, XFS changes the time, too.
  std::optional<KeepTimes> times;
  if (from.is_dir()) times.emplace(env_.files, from.child_parts.front().fd->get());
  return env_.files.Rename(from.upper->get(), from.name.c_str(), to.upper->get(), to.name.c_str(),
                           RENAME_EXCHANGE);
}

Result<> UnionEngine::MoveOnDisk(RenameSide& from, RenameSide& to) {
  FileOps& files = env_.files;
  const int from_dir = from.upper->get();
  const int to_dir = to.upper->get();
  const char* from_name = from.name.c_str();
  const char* to_name = to.name.c_str();
  const bool leaves_whiteout = from.LowerExists() && !from.HasMarker();
  const bool file_form = work_->whiteouts() == WhiteoutForm::kFile;

  if (leaves_whiteout && file_form) STRATA_TRY(work_->AddWhiteout(from_dir, from.name));
  if (to.DeviceWhiteout()) {
    if (leaves_whiteout && !file_form) return SwapWithWhiteout(from, to);
    if (!from.is_dir()) return files.Rename(from_dir, from_name, to_dir, to_name);
    STRATA_TRY(SwapWithWhiteout(from, to));
    return files.Unlink(from_dir, from_name);
  }
  if (leaves_whiteout && !file_form) {
    STRATA_TRY(MoveLeavingWhiteout(from, to, to.InUpper()));
  } else {
    STRATA_TRY(files.Rename(from_dir, from_name, to_dir, to_name));
  }
  return to.HasMarker() ? work_->RemoveFileWhiteout(to_dir, to.name) : Result<>();
}

Result<> UnionEngine::MoveLeavingWhiteout(RenameSide& from, RenameSide& to, bool replaces) {
  FileOps& files = env_.files;
  const int from_dir = from.upper->get();
  const int to_dir = to.upper->get();
  const char* from_name = from.name.c_str();
  const char* to_name = to.name.c_str();
  auto moved = files.Rename(from_dir, from_name, to_dir, to_name, RENAME_WHITEOUT);
  if (moved || !LacksRenameWhiteout(moved.error().code())) return moved;

  // Without RENAME_WHITEOUT the two names are exchanged; what ends up under the old one becomes the
  // whiteout.
  if (!replaces) {
    STRATA_TRY(work_->AddWhiteout(to_dir, to.name));
    auto exchanged = SwapWithWhiteout(from, to);
    if (!exchanged) Ignore(files.Unlink(to_dir, to_name), "undo of a failed rename");
    return exchanged;
  }
  STRATA_TRY(SwapWithWhiteout(from, to));
  STRATA_TRY_ASSIGN(std::string whiteout, work_->StageWhiteout());
  const StagedEntry staged(*work_, std::move(whiteout));
  return files.Rename(work_->fd(), staged.c_str(), from_dir, from_name, RENAME_EXCHANGE);
}

void UnionEngine::MoveNode(NodeIndex node, const RenameSide& from, const RenameSide& to) {
  const NodeView view = nodes_->View(node);
  if (view.parent != from.dir->index || view.name_text != from.name || view.Is(kNodeOrphan)) return;
  nodes_->Pin(to.dir->index);
  nodes_->Rename(node, to.dir->index, to.name);
  Drop(from.dir->index, 0, 1);
}

void UnionEngine::MoveInMemory(RenameSide& from, RenameSide& to) STRATA_NO_THREAD_SAFETY_ANALYSIS {
  NameTable& to_names = to.dir->names;
  const bool lower_exists = to.LowerExists();
  if (to.exists()) {
    const DirSlot replaced = to.At(to.FindSlot());
    const WeakNode node = Current(replaced.node);
    if (to.is_dir()) {
      nodes_->With(to.child->index, [](NodeRecord& record) { record.Set(kNodeOrphan); });
      KeepParts(*to.child, to.child_parts);
    } else {
      if (replaced.layer != kUpperLayer) LowerNameGone(node.index);
      Detach(*to.dir, to.name, node, to.file);
      CollectIndexEntry(node.index);
    }
  }
  const DirSlot moved = from.At(from.FindSlot());
  ForgetName(*from.dir, from.FindSlot());
  Slot slot = to.FindSlot();
  if (slot == NameTable::kNone) slot = to_names.Insert(to.name);
  ++to.dir->changes;
  DirSlot& entry = to_names.at(slot);
  entry.type = moved.type;
  entry.layer = kUpperLayer;
  entry.node = moved.node;
  entry.merged = 0;  // a redirect mark leads to the lower parts
  entry.whiteout = false;
  entry.marker = false;
  entry.lower_exists = lower_exists;
  MoveNode(from.node(), from, to);
}

void UnionEngine::ExchangeInMemory(RenameSide& from,
                                   RenameSide& to) STRATA_NO_THREAD_SAFETY_ANALYSIS {
  for (const RenameSide* side : {&from, &to}) ++side->dir->changes;
  DirSlot& left = from.At(from.FindSlot());
  DirSlot& right = to.At(to.FindSlot());
  std::swap(left.type, right.type);
  std::swap(left.node, right.node);
  left.merged = 0;
  right.merged = 0;
  const NodeIndex from_node = from.node();
  const NodeIndex to_node = to.node();
  MoveNode(from_node, from, to);
  MoveNode(to_node, to, from);
}

}  // namespace strata::fusefs
