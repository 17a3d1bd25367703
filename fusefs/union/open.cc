// Open files: in which mode the kernel serves them, and which descriptor stands behind them.
//
// Upper files are passed through wherever the kernel can. Lower files are, if the policy says so
// and the open cannot write; an open that may write is served by requests, so that nothing is
// copied until something is written. A node whose open handles use a backing file that a new open
// must not see is retired: the new open is answered with ESTALE, and the lookup that follows finds
// the successor (FACTS §2).
#include <dirent.h>
#include <linux/fs.h>

#include "base/inode_flags.h"
#include "base/try.h"
#include "fusefs/union/union_engine.h"

namespace strata::fusefs {
namespace {

constexpr std::uint64_t kHandleWritable = 1;
constexpr std::uint64_t kHandlePassthrough = 2;
// How soon the VFS is back after an ESTALE; later, the same task means another name.
constexpr auto kSentAwayFor = std::chrono::seconds(1);

bool MayWrite(int flags) { return (flags & O_ACCMODE) != O_RDONLY; }

OpenReply MakeReply(IoMode mode, std::int32_t backing_id, int flags, bool keep_cache) {
  OpenReply reply;
  reply.mode = mode;
  reply.backing_id = mode == IoMode::kPassthrough ? backing_id : 0;
  reply.keep_cache = keep_cache;
  reply.handle = (MayWrite(flags) ? kHandleWritable : 0) |
                 (mode == IoMode::kPassthrough ? kHandlePassthrough : 0);
  return reply;
}

}  // namespace

bool UnionEngine::InUpperNow(NodeIndex node) {
  return nodes_->With(node, [](NodeRecord& r) { return r.layer == kUpperLayer; });
}

bool UnionEngine::HasDataInUpper(NodeIndex node) {
  return nodes_->With(node,
                      [](NodeRecord& r) { return r.layer == kUpperLayer && !r.Is(kNodeBorrows); });
}

Result<OpenReply> UnionEngine::OpenFile(NodeId node_id, int flags, const Caller& who) {
  const auto node = static_cast<NodeIndex>(node_id.value);
  if (retired_.Find(node)) return OpenRetired(node, flags, who);
  const bool truncates = (flags & O_TRUNC) != 0;
  const bool writes = MayWrite(flags) || truncates;
  if (writes && !layers_->writable()) return Fail(EROFS, "open");

  if (layers_->writable() && (!InUpperNow(node) || HasAny(node, kNodeBorrows | kNodePartial))) {
    const bool at_open = options_.copy_up == CopyUpPolicy::kRead ||
                         (options_.copy_up == CopyUpPolicy::kOpen && writes);
    if (truncates) {
      STRATA_TRY(EnsureUpper(node, {DataNeed::kWritable, 0}));
    } else if (at_open) {
      const bool read_policy = options_.copy_up == CopyUpPolicy::kRead;
      STRATA_TRY(EnsureUpper(node, {read_policy ? DataNeed::kWhole : DataNeed::kWritable, {}}));
    }
  }
  // Whether set-id bits go, the kernel says with an OPEN; its frontend sees to that.
  if (truncates) STRATA_TRY(Truncate(node, 0, nullptr));
  auto opened = OpenCurrent(node, flags);
  if (!opened && opened.error().code() == ESTALE) {
    if (!retired_.Find(node)) STRATA_TRY(Retire(node));
    if (const auto retired = retired_.Find(node)) {
      MutexLock lock(retired->mu);
      retired->sent_away = who.pid;
      retired->when = std::chrono::steady_clock::now();
    }
  }
  return opened;
}

Result<OpenReply> UnionEngine::OpenCurrent(NodeIndex node, int flags, std::optional<mode_t> mode) {
  // No Release() will follow.
  if (!options_.opens) return MakeReply(IoMode::kCached, 0, flags, true);
  STRATA_TRY_ASSIGN(const bool passthrough, WantsPassthrough(node, flags, mode));
  for (int race = 0; race < kMaxRaces; ++race) {
    const auto state = FindOrMakeState(node);
    MutexLock lock(state->mu);
    if (state->closed) continue;
    auto reply = Join(node, *state, flags, passthrough);
    if (!reply && state->handles == 0) {
      state->closed = true;
      open_files_.Erase(node, state);
    }
    return reply;
  }
  return Fail(EIO, "open", "the file kept being closed");
}

Result<bool> UnionEngine::WantsPassthrough(NodeIndex node, int flags, std::optional<mode_t> mode) {
  if (backing_.load() == nullptr || HasAny(node, kNodePartial)) return false;
  if (HasDataInUpper(node)) {
    if (!MayWrite(flags)) return true;
    // Whether a write clears these bits depends on who writes: only requests tell.
    if (!mode) {
      STRATA_TRY_ASSIGN(const struct stat st, StatNode(node));
      mode = st.st_mode;
    }
    return (*mode & (S_ISUID | S_ISGID)) == 0;
  }
  if (MayWrite(flags) || options_.coherent) return false;
  switch (options_.passthrough) {
    case PassthroughPolicy::kAll:
      return true;
    case PassthroughPolicy::kOff:
      return false;
    case PassthroughPolicy::kLarge:
      break;
  }
  const bool small =
      nodes_->With(node, [](NodeRecord& r) { return r.layer != kUpperLayer && r.Is(kNodeSmall); });
  if (small) return false;
  STRATA_TRY_ASSIGN(const struct stat st, StatNode(node));
  return static_cast<std::uint64_t>(st.st_size) >= options_.passthrough_threshold;
}

Result<OpenReply> UnionEngine::Join(NodeIndex node, OpenState& state, int flags, bool passthrough) {
  const bool upper = HasDataInUpper(node);
  const bool shares = state.handles > 0 && state.upper_writable != nullptr;
  if (state.handles == 0) {
    state.mode = IoMode::kCached;
    if (passthrough) {
      STRATA_TRY_ASSIGN(const bool started, StartPassthrough(node, state, flags));
      if (started) {
        state.mode = IoMode::kPassthrough;
        state.backing_upper = upper;
      }
    }
  } else if (state.mode == IoMode::kPassthrough && (!passthrough || state.backing_upper != upper)) {
    return Fail(ESTALE, "open");
  }
  if (MayWrite(flags) && InUpperNow(node)) {
    // The first to open a file for writing is refused by its filesystem, if at all; who comes later
    // shares that descriptor.
    STRATA_TRY_ASSIGN(const int fd, UpperFdLocked(node, state, true, (flags & O_APPEND) != 0));
    if (shares) STRATA_TRY(CheckProtection(fd, flags));
  }
  ++state.handles;
  bool keep_cache = true;
  if (state.mode == IoMode::kPassthrough) {
    ++passthrough_opens_;
    if (MayWrite(flags)) {
      state.written = true;
      nodes_->With(node, [](NodeRecord& r) { r.Set(kNodeStalePages); });
    }
  } else {
    ++cached_opens_;
    keep_cache = nodes_->With(node, [](NodeRecord& r) {
      const bool fresh = !r.Is(kNodeStalePages);
      r.Clear(kNodeStalePages);
      return fresh;
    });
  }
  return MakeReply(state.mode, state.backing_id, flags, keep_cache);
}

Result<> UnionEngine::CheckProtection(int fd, int flags) {
  unsigned protection = 0;
  if (!InodeFlagsCall(fd, FS_IOC_GETFLAGS, std::as_writable_bytes(std::span(&protection, 1)))) {
    return {};  // no such flags there
  }
  if ((protection & FS_IMMUTABLE_FL) != 0) return Fail(EPERM, "open");
  if ((protection & FS_APPEND_FL) != 0 && (flags & O_APPEND) == 0) return Fail(EPERM, "open");
  return {};
}

Result<bool> UnionEngine::StartPassthrough(NodeIndex node, OpenState& state, int flags) {
  BackingFiles* backing = backing_.load();
  if (backing == nullptr) return false;
  const bool upper = HasDataInUpper(node);
  if (const auto idle = upper ? std::nullopt : idle_backings_.Take(node)) {
    state.backing_id = *idle;
    return true;
  }
  Result<int> fd = upper ? UpperFdLocked(node, state, MayWrite(flags),
                                         MayWrite(flags) && (flags & O_APPEND) != 0)
                         : LowerFdLocked(node, state);
  if (!fd) return std::unexpected(std::move(fd).error());
  auto id = backing->Register(*fd);
  if (!id) return false;  // served by requests then
  state.backing_id = *id;
  return true;
}

Result<int> UnionEngine::UpperFdLocked(NodeIndex node, OpenState& state, bool writable,
                                       bool appends) {
  SharedFd& slot = writable ? state.upper_writable : state.upper;
  if (!writable && state.upper_writable) return state.upper_writable->get();
  if (!slot) {
    auto opened = OpenNode(node, writable ? O_RDWR : O_RDONLY);
    // Append-only (chattr +a).
    if (!opened && appends && opened.error().code() == EPERM) {
      opened = OpenNode(node, O_RDWR | O_APPEND);
    }
    STRATA_TRY_ASSIGN(slot, std::move(opened));
  }
  return slot->get();
}

Result<int> UnionEngine::LowerFdLocked(NodeIndex node, OpenState& state) {
  if (!state.lower && HasAny(node, kNodeBorrows)) {
    STRATA_TRY_ASSIGN(state.lower, OpenLowerData(node));
  } else if (!state.lower) {
    STRATA_TRY_ASSIGN(state.lower, OpenNode(node, O_RDONLY));
  }
  return state.lower->get();
}

Result<> UnionEngine::Retire(NodeIndex node) {
  const Flights::Hold flight(flights_, node);
  const NodeView view = nodes_->View(node);
  if (view.Is(kNodeRetired)) return {};
  // Without the name it was known by it may have another; without a descriptor, too, it has none.
  const SharedFd kept = view.Is(kNodeOrphan) ? orphans_.Find(node) : nullptr;
  if (view.Is(kNodeOrphan) && !kept) return Fail(ESTALE, "open");
  STRATA_TRY_ASSIGN(const DirectoryRef parent, Dir(view.parent));

  NodeRecord fields = view;
  fields.lookups = 0;
  fields.refs = 1;  // of the node it replaces
  fields.Set(kNodeSuccessor);
  WeakNode successor;
  {
    WriteLock lock(parent->mu);
    const NodeView now = nodes_->View(node);
    if (now.parent != view.parent || now.name_text != view.name_text ||
        now.Is(kNodeOrphan) != view.Is(kNodeOrphan)) {
      return Fail(ESTALE,
                  "open");  // moved under us: the kernel's next try starts from the new name
    }
    STRATA_TRY_ASSIGN(successor, AddNode(fields, view.name_text));
    if (const auto index_name = index_names_.Find(node))
      index_names_.Put(successor.index, index_name);
    if (kept) orphans_.Put(successor.index, kept);
    links_->Put(RealInodeOf(view), successor);
    const Slot slot = parent->names.Find(view.name_text);
    if (slot != NameTable::kNone && parent->names.at(slot).node.index == node) {
      parent->names.at(slot).node = successor;
    }
    auto retired = successors_.Find(node);
    if (!retired) retired = std::make_shared<RetiredNode>();
    retired_.Put(node, retired);
    successors_.Put(successor.index, std::move(retired));
    nodes_->With(node, [&](NodeRecord& record) {
      record.Set(kNodeRetired);
      record.successor = successor.index;
    });
  }
  ++retired_nodes_;
  if (KernelCache* cache = cache_.load()) cache->InvalidateAttributes(NodeId{node});
  return {};
}

void UnionEngine::ArrivedByName(NodeIndex node) {
  if (!nodes_->With(node, [](NodeRecord& r) { return r.Is(kNodeSuccessor); })) return;
  if (const auto retired = successors_.Find(node)) {
    MutexLock lock(retired->mu);
    retired->sent_away = 0;
  }
}

// The VFS looks a name up again once only: what it will find must be able to serve the open.
Result<> UnionEngine::MakeWayFor(NodeIndex node, int flags) {
  STRATA_TRY_ASSIGN(const bool passthrough, WantsPassthrough(node, flags));
  const auto state = open_files_.Find(node);
  if (!state) return {};
  const bool upper = HasDataInUpper(node);
  const bool copies = !upper && (MayWrite(flags) || (flags & O_TRUNC) != 0);
  {
    MutexLock lock(state->mu);
    if (state->closed || state->handles == 0 || state->mode != IoMode::kPassthrough) return {};
    if (passthrough && state->backing_upper == upper && !copies) return {};
  }
  return Retire(node);
}

Result<OpenReply> UnionEngine::OpenRetired(NodeIndex node, int flags, const Caller& who) {
  const auto retired = retired_.Find(node);
  const auto state = open_files_.Find(node);
  const auto now = std::chrono::steady_clock::now();
  bool serves = false;
  {
    MutexLock lock(retired->mu);
    const bool came_back = retired->sent_away == who.pid && now - retired->when < kSentAwayFor;
    retired->sent_away = came_back ? 0 : who.pid;
    retired->when = now;
    serves = came_back && state && !MayWrite(flags) && (flags & O_TRUNC) == 0;
  }
  if (!serves) {
    STRATA_TRY(MakeWayFor(Current(node), flags));
    return Fail(ESTALE, "open");
  }
  MutexLock lock(state->mu);
  if (state->closed || state->mode != IoMode::kPassthrough) return Fail(ESTALE, "open");
  ++state->handles;
  ++passthrough_opens_;
  return MakeReply(state->mode, state->backing_id, flags, false);
}

void UnionEngine::DropBacking(std::optional<std::int32_t> id) {
  BackingFiles* backing = backing_.load();
  if (id && backing != nullptr) backing->Unregister(*id);
}

void UnionEngine::Release(NodeId node_id, std::uint64_t) {
  const auto node = static_cast<NodeIndex>(node_id.value);
  const auto state = open_files_.Find(node);
  if (!state) return;
  bool written = false;
  {
    MutexLock lock(state->mu);
    if (state->handles == 0) return;
    --state->handles;
    if (state->handles > 0) return;
    state->closed = true;
    written = state->written;
    if (state->backing_id != 0) {
      DropBacking(state->backing_upper ? std::optional(state->backing_id)
                                       : idle_backings_.Put(node, state->backing_id));
    }
    open_files_.Erase(node, state);
  }
  // A shared mapping's writes change times and blocks without a request that would tell the
  // kernel's attribute cache.
  if (written) {
    if (KernelCache* cache = cache_.load()) cache->InvalidateAttributes(node_id);
  }
}

FileKey UnionEngine::LockKey(NodeId node) {
  return nodes_->With(static_cast<NodeIndex>(node.value),
                      [](NodeRecord& r) { return FileKey{r.ino}; });
}

Result<std::shared_ptr<OpenState>> UnionEngine::StateOf(NodeIndex node) {
  auto state = open_files_.Find(node);
  if (state) return state;
  if (options_.opens) return Fail(EBADF, "open file");
  return FindOrMakeState(node);
}

std::shared_ptr<OpenState> UnionEngine::FindOrMakeState(NodeIndex node) {
  bool made = false;
  auto state = open_files_.FindOrMake(node, [&made] {
    made = true;
    return std::make_shared<OpenState>();
  });
  if (!made || options_.opens) return state;
  std::pair<NodeIndex, std::weak_ptr<OpenState>> oldest;
  {
    MutexLock lock(fds_mu_);
    recent_files_.emplace_back(node, state);
    if (recent_files_.size() <= max_cached_fds_ / 2) return state;
    oldest = std::move(recent_files_.front());
    recent_files_.pop_front();
  }
  if (const auto dropped = oldest.second.lock()) open_files_.Erase(oldest.first, dropped);
  return state;
}

Result<Engine::Created> UnionEngine::OpenCreated(const Bound& made, UniqueFd opened, int flags) {
  Created created;
  STRATA_TRY_ASSIGN(created.entry, Reply(made));
  const auto node = static_cast<NodeIndex>(created.entry.node.value);
  {
    // Somebody else may have opened it already.
    const auto state = FindOrMakeState(node);
    MutexLock lock(state->mu);
    if (!state->closed && !state->upper_writable) {
      state->upper_writable = std::make_shared<const UniqueFd>(std::move(opened));
    }
  }
  auto reply = OpenCurrent(node, flags, created.entry.attr.st_mode);
  if (!reply) {
    Drop(node, 1, 0);
    return std::unexpected(std::move(reply).error());
  }
  created.open = *reply;
  return created;
}

Result<Engine::Created> UnionEngine::Create(NodeId parent, std::string_view name, mode_t mode,
                                            int flags, const Caller& who) {
  UniqueFd opened;
  auto added = AddEntry(static_cast<NodeIndex>(parent.value), name,
                        {(mode & 07777) | S_IFREG, 0, nullptr, &opened, who});
  if (added) return OpenCreated(*added, std::move(opened), flags & ~O_TRUNC);
  if (added.error().code() != EEXIST || (flags & O_EXCL) != 0) {
    return std::unexpected(std::move(added).error());
  }
  // The kernel did not know of it yet: an ordinary open then.
  for (int race = 0; race < kMaxRaces; ++race) {
    Created created;
    STRATA_TRY_ASSIGN(created.entry, Lookup(parent, name));
    auto reply = OpenFile(created.entry.node, flags, who);
    if (reply && (flags & O_TRUNC) != 0) {
      auto killed = KillPrivilegesOf(created.entry.node, who.ToBeAsked());
      if (!killed) {
        Release(created.entry.node, reply->handle);
        reply = std::unexpected(std::move(killed).error());
      }
    }
    if (reply) {
      created.open = *reply;
      return created;
    }
    Forget(created.entry.node, 1);
    if (reply.error().code() != ESTALE) return std::unexpected(std::move(reply).error());
  }
  return Fail(EIO, "create", "the file kept being replaced");
}

Result<> UnionEngine::SyncDir(NodeId node_id) {
  STRATA_TRY_ASSIGN(const DirectoryRef dir, Dir(static_cast<NodeIndex>(node_id.value)));
  if (options_.volatile_upper || !layers_->writable() || !HasUpper(*dir)) return {};
  STRATA_TRY_ASSIGN(const SharedFd fd, Fd(*dir, kUpperLayer));
  return env_.files.Sync(fd->get());
}

}  // namespace strata::fusefs
