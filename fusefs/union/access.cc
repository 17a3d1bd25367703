// Nodes to files: from a node of the union to an open descriptor or the attributes of what it
// stands for.
#include <algorithm>
#include <chrono>
#include <thread>

#include "base/try.h"
#include "fusefs/union/union_engine.h"

namespace strata::fusefs {
namespace {

// A name can be renamed between reading it and using it; the check that follows finds out and looks
// again.
constexpr int kMaxQuietMisses = 100;
// Whoever moves a name may be kept from its processor or wait for a disk. The first pauses only
// yield; all together last seconds.
constexpr int kYields = 16;
constexpr int kMaxWaits = 20000;
constexpr std::chrono::microseconds kPause{200};

// What opening or looking up a name says when something else has taken its place: a whiteout is a
// device nobody drives.
bool MayHaveMoved(int code) {
  return code == ENOENT || code == ENOTDIR || code == ELOOP || code == ESTALE || code == ENXIO ||
         code == ENODEV;
}

}  // namespace

bool UnionEngine::LookAgain(Misses& misses) const {
  if (moving_.load() == 0) return ++misses.quiet < kMaxQuietMisses;
  if (++misses.waited < kYields) {
    std::this_thread::yield();
  } else {
    std::this_thread::sleep_for(kPause);
  }
  return misses.waited < kMaxWaits;
}

void UnionEngine::Present(const NodeRecord& record, struct stat& st) const {
  st.st_ino = record.ino;
  if (record.Is(kNodeOrphan) && record.layer != kUpperLayer) {
    st.st_nlink = 0;  // deleted here; its layer does not know
    return;
  }
  st.st_nlink = static_cast<nlink_t>(static_cast<std::int64_t>(st.st_nlink) + record.nlink_delta);
  if (record.Is(kNodeBorrows) || record.Is(kNodePartial)) {
    // The blocks below count, too; holes in them do not show here.
    const blkcnt_t all = (st.st_size + kStatBlock - 1) / kStatBlock;
    st.st_blocks = std::max(st.st_blocks, all);
  }
}

Result<SharedFd> UnionEngine::OpenNode(NodeIndex node, int flags) {
  flags |= O_NOFOLLOW;
  // A fifo that took the name meanwhile must not hold us; to regular files it means nothing.
  if ((flags & O_PATH) == 0) flags |= O_NONBLOCK;
  Misses misses;
  do {
    node = Current(node);
    const NodeView view = nodes_->View(node);
    if (view.Is(kNodeDirectory)) {
      STRATA_TRY_ASSIGN(const DirectoryRef dir, Dir(node));
      return Fd(*dir, view.layer);
    }
    if (view.Is(kNodeOrphan)) {
      const auto orphan = orphans_.Find(node);
      if (orphan) {
        // Through /proc the very inode is opened again, whatever happened to its names.
        if ((flags & O_PATH) != 0) return orphan;
        STRATA_TRY_ASSIGN(UniqueFd fd, env_.files.Open(AT_FDCWD, ProcFdPath(orphan->get()).c_str(),
                                                       flags & ~O_NOFOLLOW));
        return std::make_shared<const UniqueFd>(std::move(fd));
      }
    }
    Result<UniqueFd> opened = Fail(ENOENT, "open");
    if (view.Is(kNodeIndexed)) {
      const auto name = index_names_.Find(node);
      if (!name) continue;
      opened = env_.files.Open(work_->index_fd(), name->c_str(), flags);
    } else {
      STRATA_TRY_ASSIGN(const DirectoryRef parent, Dir(view.parent));
      STRATA_TRY_ASSIGN(const SharedFd dir, Fd(*parent, view.layer));
      opened = env_.files.Open(dir->get(), view.name_text.c_str(), flags);
    }
    if (opened) {
      STRATA_TRY_ASSIGN(const struct stat st, env_.files.Stat(opened->get()));
      if (st.st_ino == view.real_ino) return std::make_shared<const UniqueFd>(std::move(*opened));
    } else if (!MayHaveMoved(opened.error().code())) {
      return std::unexpected(std::move(opened).error());
    }
  } while (LookAgain(misses));
  return Fail(EIO, "open", kChangedOutside);
}

SharedFd UnionEngine::OpenInUpper(NodeIndex node) {
  const auto state = open_files_.Find(node);
  if (!state) return nullptr;
  MutexLock lock(state->mu);
  return state->upper_writable ? state->upper_writable : state->upper;
}

Result<SharedFd> UnionEngine::AttributeFd(NodeIndex node) {
  if (auto fd = OpenInUpper(Current(node))) return fd;
  return OpenNode(node, O_PATH);
}

Result<struct stat> UnionEngine::StatNode(NodeIndex node) {
  Misses misses;
  do {
    node = Current(node);
    const NodeView view = nodes_->View(node);
    Result<struct stat> st = Fail(ENOENT, "stat");
    if (layers_->InChain(view.layer)) {
      STRATA_TRY_ASSIGN(const auto entry, layers_->index().At(view.entry));
      st = AttributesOf(entry);
    } else if (view.Is(kNodeDirectory)) {
      STRATA_TRY_ASSIGN(const DirectoryRef dir, Dir(node));
      STRATA_TRY_ASSIGN(const SharedFd fd, Fd(*dir, view.layer));
      st = env_.files.Stat(fd->get());
      if (st && !view.Is(kNodeOrphan) && IsMerged(*dir)) st->st_nlink = 1;
    } else if (const SharedFd fd = view.layer == kUpperLayer ? OpenInUpper(node) : nullptr) {
      st = env_.files.Stat(fd->get());
    } else if (const auto orphan = view.Is(kNodeOrphan) ? orphans_.Find(node) : nullptr) {
      st = env_.files.Stat(orphan->get());
    } else if (view.Is(kNodeIndexed)) {
      const auto name = index_names_.Find(node);
      if (!name) continue;
      st = env_.files.StatAt(work_->index_fd(), name->c_str());
    } else {
      STRATA_TRY_ASSIGN(const DirectoryRef parent, Dir(view.parent));
      auto dir = Fd(*parent, view.layer);
      if (!dir) return std::unexpected(std::move(dir).error());
      st = env_.files.StatAt((*dir)->get(), view.name_text.c_str());
    }
    if (st && st->st_ino == view.real_ino) {
      Present(view, *st);
      return st;
    }
    if (!st && !MayHaveMoved(st.error().code())) return st;
  } while (LookAgain(misses));
  return Fail(EIO, "stat", kChangedOutside);
}

Result<std::optional<ChainEntry>> UnionEngine::EntryInChain(NodeIndex node) {
  const auto [layer, entry] = nodes_->With(
      Current(node), [](NodeRecord& r) { return std::pair(LayerIndex{r.layer}, r.entry); });
  if (!layers_->InChain(layer)) return std::optional<ChainEntry>();
  STRATA_TRY_ASSIGN(auto found, layers_->index().At(entry));
  return std::optional(found);
}

struct stat UnionEngine::AttributesOf(const ChainEntry& entry) {
  struct stat st = entry.attr;
  if (entry.merged) st.st_nlink = 1;
  return st;
}

bool UnionEngine::IsMerged(Directory& dir) {
  MutexLock lock(dir.stack_mu);
  return dir.resolved ? dir.stack.size() > 1 : dir.candidates().size() > 1;
}

}  // namespace strata::fusefs
