// Directories: which layer directories they consist of, and the one merge of their names.
#include <algorithm>

#include "base/path.h"
#include "base/try.h"
#include "fusefs/union/directory_merge.h"
#include "fusefs/union/long_path.h"
#include "fusefs/union/redirect.h"
#include "fusefs/union/union_engine.h"

namespace strata::fusefs {
namespace {

constexpr int kOpenDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;

}  // namespace

Result<DirectoryRef> UnionEngine::Dir(NodeIndex node) {
  auto dir = dirs_.Find(node);
  if (!dir) return Fail(ENOTDIR, "directory");
  return dir;
}

Result<SharedFd> UnionEngine::Fd(Directory& dir, LayerIndex layer) {
  Result<SharedFd> fd = [&]() -> Result<SharedFd> {
    ReadLock names(rename_mu_);
    MutexLock lock(dir.stack_mu);
    return FdLocked(dir, layer);
  }();
  EvictFds();
  return fd;
}

Result<std::vector<UnionEngine::LayerFd>> UnionEngine::Fds(Directory& dir) {
  std::vector<LayerFd> fds;
  {
    ReadLock names(rename_mu_);
    MutexLock lock(dir.stack_mu);
    STRATA_TRY(ResolveLocked(dir));
    fds.reserve(dir.stack.size());
    for (StackEntry& entry : dir.stack) {
      SharedFd fd;
      if (!layers_->InChain(entry.layer)) {
        STRATA_TRY_ASSIGN(fd, OpenEntryLocked(dir, entry));
      }
      fds.push_back({entry.layer, std::move(fd)});
    }
  }
  EvictFds();
  return fds;
}

bool UnionEngine::HasUpper(const Directory& dir) {
  return nodes_->With(dir.index, [](NodeRecord& r) { return r.layer == kUpperLayer; });
}

Result<SharedFd> UnionEngine::FdLocked(Directory& dir, LayerIndex layer) {
  STRATA_TRY(ResolveLocked(dir));
  if (layers_->InChain(layer)) return ChainFdLocked(dir, layer);
  const auto entry = std::ranges::lower_bound(dir.stack, layer, {}, &StackEntry::layer);
  if (entry == dir.stack.end() || entry->layer != layer) return Fail(ENOENT, "layer directory");
  return OpenEntryLocked(dir, *entry);
}

Result<SharedFd> UnionEngine::ChainFdLocked(Directory& dir, LayerIndex layer) {
  if (dir.in_chain == kNotInChain) return Fail(ENOENT, "layer directory");
  std::vector<StackEntry>& open = dir.extras().chain_fds;
  const auto known = std::ranges::lower_bound(open, layer, {}, &StackEntry::layer);
  if (known != open.end() && known->layer == layer) return known->fd;
  const layerstore::MetadataIndex& index = layers_->index();
  STRATA_TRY_ASSIGN(const std::string path,
                    index.PathInLayer(dir.in_chain, layers_->ToChain(layer)));
  STRATA_TRY_ASSIGN(const SharedFd root, layers_->Root(layer));
  STRATA_TRY_ASSIGN(SharedFd fd, OpenLongPath(env_.files, root->get(), path, kOpenDirectory));
  STRATA_TRY_ASSIGN(const auto number, index.EntryOf(dir.in_chain));
  STRATA_TRY_ASSIGN(const auto entry, index.At(number));
  if (layers_->FromChain(entry.layer) == layer) {
    STRATA_TRY_ASSIGN(const struct stat st, env_.files.Stat(fd->get()));
    if (st.st_ino != entry.attr.st_ino) return Fail(EIO, "open", kChangedOutside);
  }
  open.insert(known, StackEntry{.layer = layer, .fd = fd});
  RememberFd(dir, layer);
  return fd;
}

// We read a directory when its names are not known any more, not when somebody lists it: its atime
// is not to tell of that. Lower layers are read-only; of the upper, O_NOATIME is for owners.
Result<UniqueFd> UnionEngine::OpenDirectory(LayerIndex layer, int parent, const char* name) {
  if (layer == kUpperLayer) {
    auto fd = env_.files.Open(parent, name, kOpenDirectory | O_NOATIME);
    if (fd || fd.error().code() != EPERM) return fd;
  }
  return env_.files.Open(parent, name, kOpenDirectory);
}

Result<SharedFd> UnionEngine::OpenEntryLocked(Directory& dir, StackEntry& entry) {
  if (entry.fd) return entry.fd;
  if (entry.path) {
    STRATA_TRY_ASSIGN(const SharedFd root, layers_->Root(entry.layer));
    STRATA_TRY_ASSIGN(entry.fd, OpenLongPath(env_.files, root->get(), *entry.path, kOpenDirectory));
  } else {
    const NodeView view = nodes_->View(dir.index);
    STRATA_TRY_ASSIGN(const DirectoryRef parent, Dir(view.parent));
    MutexLock lock(parent->stack_mu);
    STRATA_TRY_ASSIGN(const SharedFd parent_fd, FdLocked(*parent, entry.layer));
    STRATA_TRY_ASSIGN(UniqueFd fd,
                      OpenDirectory(entry.layer, parent_fd->get(), view.name_text.c_str()));
    entry.fd = std::make_shared<const UniqueFd>(std::move(fd));
  }
  RememberFd(dir, entry.layer);
  return entry.fd;
}

void UnionEngine::RememberFd(Directory& dir, LayerIndex layer) {
  MutexLock lock(fds_mu_);
  cached_fds_.emplace_back(dir.index, layer);
}

void UnionEngine::EvictFds() {
  for (;;) {
    std::pair<NodeIndex, LayerIndex> oldest;
    {
      MutexLock lock(fds_mu_);
      if (cached_fds_.size() <= max_cached_fds_) return;
      oldest = cached_fds_.front();
      cached_fds_.pop_front();
    }
    const DirectoryRef dir = dirs_.Find(oldest.first);
    // A removed directory has no name to open it again by.
    if (!dir || nodes_->With(dir->index, [](NodeRecord& r) { return r.Is(kNodeOrphan); })) continue;
    SharedFd closing;  // closed outside the lock
    MutexLock lock(dir->stack_mu);
    if (layers_->InChain(oldest.second)) {
      std::vector<StackEntry>& open = dir->extras().chain_fds;
      const auto known = std::ranges::find(open, oldest.second, &StackEntry::layer);
      if (known == open.end()) continue;
      closing = std::move(known->fd);
      open.erase(known);
      continue;
    }
    const auto entry = std::ranges::lower_bound(dir->stack, oldest.second, {}, &StackEntry::layer);
    if (entry != dir->stack.end() && entry->layer == oldest.second) closing = std::move(entry->fd);
  }
}

Result<> UnionEngine::ResolveLocked(Directory& dir) {
  if (dir.resolved) return {};
  const NodeView view = nodes_->View(dir.index);
  STRATA_TRY_ASSIGN(const DirectoryRef parent, Dir(view.parent));
  const LayerIndex last_layer = static_cast<LayerIndex>(layers_->end() - 1);
  dir.stack.clear();
  for (const LayerIndex layer : dir.candidates()) {
    if (layers_->InChain(layer)) {
      // What its marks say was done when the index was made.
      STRATA_TRY(ResolveInChain(dir, *parent, view.name_text));
      break;
    }
    if (layer == last_layer && dir.candidates().size() == 1) {
      dir.stack.push_back(StackEntry{.layer = layer});  // nothing below to hide or to redirect to
      break;
    }
    SharedFd parent_fd;
    {
      MutexLock lock(parent->stack_mu);
      STRATA_TRY_ASSIGN(parent_fd, FdLocked(*parent, layer));
    }
    STRATA_TRY_ASSIGN(UniqueFd opened,
                      OpenDirectory(layer, parent_fd->get(), view.name_text.c_str()));
    auto fd = std::make_shared<const UniqueFd>(std::move(opened));
    dir.stack.push_back(StackEntry{.layer = layer, .fd = fd});
    STRATA_TRY_ASSIGN(const DirectoryMarks marks,
                      ReadDirectoryMarks(env_.files, layers_->xattrs(), fd->get()));
    if (marks.redirect && layer == kUpperLayer) {
      if (marks.redirect->starts_with('/')) {
        dir.extras().lower_union_path = marks.redirect->substr(1);
      } else {
        MutexLock lock(parent->stack_mu);
        STRATA_TRY_ASSIGN(const std::string above, LowerUnionPathLocked(*parent));
        dir.extras().lower_union_path = JoinPath(above, *marks.redirect);
      }
    }
    if (marks.redirect && layer != last_layer) {
      STRATA_TRY(FollowRedirect(dir, parent, layer, *marks.redirect));
      break;
    }
    if (marks.opaque) break;
  }
  dir.resolved = true;
  for (const StackEntry& entry : dir.stack) {
    if (entry.fd) RememberFd(dir, entry.layer);
  }
  return {};
}

Result<> UnionEngine::ResolveInChain(Directory& dir, Directory& parent, const std::string& name) {
  {
    MutexLock lock(parent.stack_mu);
    STRATA_TRY(ResolveLocked(parent));
  }
  const layerstore::MetadataIndex& index = layers_->index();
  STRATA_TRY_ASSIGN(const auto number, index.Find(parent.in_chain, name));
  if (!number) return Fail(EIO, "directory", name + " is not in the chain's index");
  STRATA_TRY_ASSIGN(const auto entry, index.NameAt(*number));
  if (!entry.directory) return Fail(EIO, "directory", name + " is none in the chain's index");
  return AddChainPart(dir, *entry.directory);
}

Result<> UnionEngine::AddChainPart(Directory& dir, ChainDirectory number) {
  const layerstore::MetadataIndex& index = layers_->index();
  STRATA_TRY_ASSIGN(const auto entry_number, index.EntryOf(number));
  STRATA_TRY_ASSIGN(const auto entry, index.NameAt(entry_number));
  dir.in_chain = number;
  dir.stack.push_back(StackEntry{.layer = layers_->FromChain(entry.layer)});
  return {};
}

Result<> UnionEngine::FollowRedirect(Directory& dir, DirectoryRef parent, LayerIndex layer,
                                     std::string redirect) {
  // A relative redirect names a sibling: it counts in the layers the parent has. An absolute one
  // counts in all.
  std::string path;
  if (redirect.starts_with('/')) {
    path = redirect.substr(1);
  } else {
    MutexLock lock(parent->stack_mu);
    const auto below = std::ranges::upper_bound(parent->stack, layer, {}, &StackEntry::layer);
    if (below == parent->stack.end()) return {};
    std::string parent_path;
    if (layers_->InChain(below->layer)) {
      STRATA_TRY_ASSIGN(parent_path, layers_->index().PathOf(parent->in_chain));
    } else {
      STRATA_TRY_ASSIGN(parent_path, LowerPathLocked(*parent, below->layer));
    }
    path = JoinPath(parent_path, redirect);
  }
  RedirectWalk walk(env_.files, layers_->xattrs(), std::move(path));
  for (LayerIndex below = static_cast<LayerIndex>(layer + 1); below < layers_->end(); ++below) {
    if (layers_->InChain(below)) {
      STRATA_TRY_ASSIGN(const auto number, layers_->index().FindDirectory(walk.path()));
      return number ? AddChainPart(dir, *number) : Result<>();
    }
    STRATA_TRY_ASSIGN(const SharedFd root, layers_->Root(below));
    STRATA_TRY_ASSIGN(std::optional<RedirectWalk::Found> found, walk.In(root->get()));
    if (found) {
      dir.stack.push_back({below, std::make_unique<const std::string>(std::move(found->path)),
                           std::make_shared<const UniqueFd>(std::move(found->fd))});
    }
    if (walk.ended()) break;
  }
  return {};
}

Result<std::string> UnionEngine::LowerPathLocked(Directory& dir, LayerIndex layer) {
  STRATA_TRY(ResolveLocked(dir));
  if (layers_->InChain(layer)) {
    return layers_->index().PathInLayer(dir.in_chain, layers_->ToChain(layer));
  }
  const auto entry = std::ranges::lower_bound(dir.stack, layer, {}, &StackEntry::layer);
  if (entry == dir.stack.end() || entry->layer != layer) return Fail(ENOENT, "lower path");
  if (entry->path) return *entry->path;
  const NodeView view = nodes_->View(dir.index);
  STRATA_TRY_ASSIGN(const DirectoryRef parent, Dir(view.parent));
  MutexLock lock(parent->stack_mu);
  STRATA_TRY_ASSIGN(const std::string parent_path, LowerPathLocked(*parent, layer));
  return JoinPath(parent_path, view.name_text);
}

Result<std::string> UnionEngine::LowerUnionPathLocked(Directory& dir) {
  STRATA_TRY(ResolveLocked(dir));
  if (dir.extras_if_any && dir.extras_if_any->lower_union_path) {
    return *dir.extras_if_any->lower_union_path;
  }
  const NodeView view = nodes_->View(dir.index);
  if (view.parent == 0) return std::string();
  STRATA_TRY_ASSIGN(const DirectoryRef parent, Dir(view.parent));
  MutexLock lock(parent->stack_mu);
  STRATA_TRY_ASSIGN(const std::string above, LowerUnionPathLocked(*parent));
  return JoinPath(above, view.name_text);
}

Result<> UnionEngine::EnsureLoaded(Directory& dir) {
  {
    ReadLock lock(dir.mu);
    if (dir.loaded) return {};
  }
  STRATA_TRY_ASSIGN(const std::vector<LayerFd> parts, Fds(dir));
  WriteLock lock(dir.mu);
  if (dir.loaded || dir.dead) return {};
  return Load(dir, parts);
}

Result<> UnionEngine::Load(Directory& dir, const std::vector<LayerFd>& parts) {
  NameTable names;  // complete or not there: a merge that fails is done anew
  DirectoryMerge merge(env_.files, names);
  for (const LayerFd& part : parts) {
    if (layers_->InChain(part.layer)) {
      STRATA_TRY(merge.AddChain(*layers_, dir.in_chain));
      break;
    }
    STRATA_TRY_ASSIGN(const bool opaque, merge.Add(part.layer, part.fd->get()));
    if (opaque) break;
  }
  merge.Finish();
  dir.names = std::move(names);
  dir.loaded = true;
  return {};
}

}  // namespace strata::fusefs
