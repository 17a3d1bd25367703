// The content of open files, and of those whose data is in a lower layer, wholly or in part.
//
// A change of attributes leaves the data of a larger file where it is: the upper file "borrows" it,
// marked as kernel overlayfs marks such files (metacopy). A write to a large file gives it a block
// map besides, and from then on it is "partial": written blocks are in the upper file, the others
// still below (partial_file.h).
#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "base/logging.h"
#include "base/path.h"
#include "base/try.h"
#include "fusefs/union/data_copy.h"
#include "fusefs/union/file_handle.h"
#include "fusefs/union/long_path.h"
#include "fusefs/union/redirect.h"
#include "fusefs/union/union_engine.h"

namespace strata::fusefs {
namespace {

// What copy_file_range(2) moves at a time where it goes through memory.
constexpr std::size_t kCopyBuffer = std::size_t{1} << 20U;
constexpr off_t kCopyStep = off_t{16} << 20U;

// As it stands in a block map: type, then bytes. Empty where there is none.
std::string HandleOf(int fd) {
  const auto handle = FileHandle::Of(fd, "", AT_EMPTY_PATH);
  if (!handle) return {};
  const int type = handle->type();
  std::string text(reinterpret_cast<const char*>(&type), sizeof type);
  text.append(handle->bytes());
  return text.size() <= BlockMap::kMaxHandle ? text : std::string();
}

std::optional<FileHandle> ParseHandle(std::string_view text) {
  int type = 0;
  if (text.size() <= sizeof type) return std::nullopt;
  std::memcpy(&type, text.data(), sizeof type);
  return FileHandle::From(type, text.substr(sizeof type));
}

}  // namespace

// --- where borrowed data is ---

// Null if the directory has no such file, or a copy without data: then the layers below are asked
// for `*name`, which that may have changed.
Result<SharedFd> UnionEngine::FindDataIn(int dir, LayerIndex layer, std::string* name) {
  auto st = env_.files.StatAt(dir, name->c_str());
  if (!st && st.error().code() == ENOENT) return SharedFd();
  if (!st) return std::unexpected(std::move(st).error());
  if (!S_ISREG(st->st_mode)) {
    return Fail(EIO, "copied-up file", "its data is hidden: " + *name + " is no file");
  }
  const OverlayXattrs& xattrs = layers_->xattrs();
  if (!env_.files.GetXattrAt(dir, name->c_str(), xattrs.Metacopy().c_str())) {
    STRATA_TRY_ASSIGN(UniqueFd fd, env_.files.Open(dir, name->c_str(), O_RDONLY | O_NOFOLLOW));
    return std::make_shared<const UniqueFd>(std::move(fd));
  }
  auto redirect = env_.files.GetXattrAt(dir, name->c_str(), xattrs.Redirect().c_str());
  if (!redirect) return SharedFd();
  if (redirect->starts_with('/')) return FindLowerData(layer, redirect->substr(1));
  *name = std::move(*redirect);
  return SharedFd();
}

Result<SharedFd> UnionEngine::FindLowerData(LayerIndex layer, std::string path) {
  RedirectWalk walk(env_.files, layers_->xattrs(), std::string(DirName(path)));
  std::string name(BaseName(path));
  while (++layer < layers_->end()) {
    if (layer == layers_->first_in_chain()) {
      STRATA_TRY_ASSIGN(const auto parent, layers_->index().FindDirectory(walk.path()));
      if (!parent) break;
      STRATA_TRY_ASSIGN(const SharedFd data, FindDataInChain(*parent, name));
      if (data) return data;
    }
    STRATA_TRY_ASSIGN(const SharedFd root, layers_->Root(layer));
    std::optional<RedirectWalk::Found> found;
    int dir = root->get();
    if (!DirName(path).empty()) {
      STRATA_TRY_ASSIGN(found, walk.In(dir));
      dir = found ? found->fd.get() : -1;
    }
    if (dir >= 0) {
      STRATA_TRY_ASSIGN(const SharedFd data, FindDataIn(dir, layer, &name));
      if (data) return data;
    }
    if (walk.ended()) break;
  }
  return Fail(EIO, "copied-up file", "no lower layer has its data, " + path);
}

// Null if the chain's topmost file of that name has no data of its own: the layers below it must
// be asked one by one.
Result<SharedFd> UnionEngine::FindDataInChain(ChainDirectory directory, std::string_view name) {
  const layerstore::MetadataIndex& index = layers_->index();
  STRATA_TRY_ASSIGN(const auto number, index.Find(directory, name));
  if (!number) return Fail(EIO, "copied-up file", "no lower layer has its data");
  STRATA_TRY_ASSIGN(const ChainEntry entry, index.At(*number));
  if (!S_ISREG(entry.attr.st_mode)) {
    return Fail(EIO, "copied-up file", "its data is hidden: " + std::string(name) + " is no file");
  }
  if (entry.metacopy) return SharedFd();
  STRATA_TRY_ASSIGN(const SharedFd root, layers_->Root(layers_->FromChain(entry.layer)));
  STRATA_TRY_ASSIGN(const std::string path, index.PathInLayer(entry));
  STRATA_TRY_ASSIGN(SharedFd fd,
                    OpenLongPath(env_.files, root->get(), path, O_RDONLY | O_NOFOLLOW));
  STRATA_TRY_ASSIGN(const struct stat st, env_.files.Stat(fd->get()));
  if (st.st_ino != entry.attr.st_ino) return Fail(EIO, "open", kChangedOutside);
  return fd;
}

Result<SharedFd> UnionEngine::OpenLowerData(NodeIndex node) {
  STRATA_TRY_ASSIGN(const SharedFd file, OpenNode(node, O_PATH));
  const NodeView view = nodes_->View(node);
  auto redirect = env_.files.GetXattr(file->get(), layers_->xattrs().Redirect().c_str());
  if (redirect && redirect->starts_with('/')) {
    return FindLowerData(view.layer, redirect->substr(1));
  }
  // As kernel overlayfs leaves it where nothing was renamed: under the same name below.
  std::string name = redirect ? *redirect : view.name_text;
  STRATA_TRY_ASSIGN(const DirectoryRef parent, Dir(view.parent));
  STRATA_TRY_ASSIGN(const std::vector<LayerFd> parts, Fds(*parent));
  for (const LayerFd& part : parts) {
    if (layers_->InChain(view.layer) && layers_->InChain(part.layer)) {
      // Below a file of the chain: its layers one by one.
      STRATA_TRY_ASSIGN(
          const std::string above,
          layers_->index().PathInLayer(parent->in_chain, layers_->ToChain(view.layer)));
      return FindLowerData(view.layer, JoinPath(above, name));
    }
    if (part.layer <= view.layer) continue;
    if (layers_->InChain(part.layer)) {
      STRATA_TRY_ASSIGN(const SharedFd data, FindDataInChain(parent->in_chain, name));
      if (data) return data;
      STRATA_TRY_ASSIGN(const std::string above, layers_->index().PathOf(parent->in_chain));
      return FindLowerData(static_cast<LayerIndex>(layers_->first_in_chain() - 1),
                           JoinPath(above, name));
    }
    STRATA_TRY_ASSIGN(const SharedFd data, FindDataIn(part.fd->get(), part.layer, &name));
    if (data) return data;
  }
  return Fail(EIO, "copied-up file", "no lower layer has its data, " + name);
}

// --- from borrowing to having ---

Result<std::shared_ptr<PartialFile>> UnionEngine::Partial(NodeIndex node) {
  node = Current(node);
  if (!HasAny(node, kNodePartial)) return std::shared_ptr<PartialFile>();
  const auto inode = nodes_->With(node, [](NodeRecord& r) { return r.real_ino; });
  return partials_.FindOrMake(inode, [&]() -> Result<std::shared_ptr<PartialFile>> {
    if (!HasAny(node, kNodePartial)) return std::shared_ptr<PartialFile>();
    STRATA_TRY_ASSIGN(const SharedFd upper, OpenNode(node, O_RDWR));
    STRATA_TRY_ASSIGN(const SharedFd lower, OpenLowerData(node));
    const auto id = BlockMapOf(upper->get());
    if (!id) return Fail(EIO, "half-copied file", "it names no block map");
    STRATA_TRY_ASSIGN(auto map, BlockMap::Open(BlockMaps(), *id, upper->get()));
    STRATA_TRY_ASSIGN(const struct stat st, env_.files.Stat(lower->get()));
    if (map->source() != BlockMap::SourceOf(st)) {
      return Fail(EIO, "half-copied file", "the lower file it was copied from has changed");
    }
    auto file = std::make_shared<PartialFile>(env_.files, upper, lower, std::move(map));
    STRATA_TRY(file->Settle());
    CompleteLater(node);
    return file;
  });
}

Result<> UnionEngine::TakeData(NodeIndex node, const CopyUpNeed& need) {
  STRATA_TRY_ASSIGN(const SharedFd upper, OpenNode(node, O_RDWR));
  STRATA_TRY_ASSIGN(const struct stat st, env_.files.Stat(upper->get()));
  if (HasAny(node, kNodeBorrows) && need.size != 0 && MayBorrow(st, need)) {
    return StartPartial(node, upper);
  }
  if (HasAny(node, kNodePartial)) {
    STRATA_TRY_ASSIGN(const std::shared_ptr<PartialFile> partial, Partial(node));
    return partial ? CopyRest(node, *partial) : Result<>();
  }
  if (need.size == 0) {
    // Without a size, no data is missed.
    STRATA_TRY(env_.files.Truncate(upper->get(), 0));
  } else {
    STRATA_TRY_ASSIGN(const SharedFd lower, OpenLowerData(node));
    STRATA_TRY_ASSIGN(const struct stat lower_st, env_.files.Stat(lower->get()));
    const UnnoticedWriting unnoticed(env_.files, upper->get());
    if (!cloning_.Try(lower->get(), upper->get(), st.st_size)) {
      STRATA_TRY(CopyData(lower->get(), upper->get(), st.st_size, lower_st));
    }
    STRATA_TRY(OrderData(upper->get()));
  }
  STRATA_TRY(DropBorrowMarks(upper->get()));
  nodes_->With(node, [](NodeRecord& r) { r.Clear(kNodeBorrows); });
  return {};
}

Result<> UnionEngine::StartPartial(NodeIndex node, const SharedFd& upper) {
  FileOps& files = env_.files;
  STRATA_TRY_ASSIGN(const SharedFd lower, OpenLowerData(node));
  STRATA_TRY_ASSIGN(const struct stat lower_st, files.Stat(lower->get()));
  STRATA_TRY_ASSIGN(const struct stat st, files.Stat(upper->get()));
  STRATA_TRY_ASSIGN(const BlockMapId id, NewBlockMapId());
  STRATA_TRY_ASSIGN(auto map, BlockMap::Create(BlockMaps(), id, BlockMap::SourceOf(lower_st),
                                               HandleOf(upper->get())));
  // The file must not name a map that the disk does not have. A journal sees to that: nothing of a
  // new map is data.
  Result<> started;
  if (data_order_ == DataOrder::kSync) {
    started = files.Sync(map->fd());
    if (started) started = files.Sync(work_->blocks_fd());
  }
  const OverlayXattrs& xattrs = layers_->xattrs();
  if (started) {
    started = files.SetXattr(upper->get(), xattrs.Blocks().c_str(), BlockMapIdBytes(id));
  }
  if (started) started = files.SetXattr(upper->get(), xattrs.Metacopy().c_str(), kHalfCopiedMark);
  if (!started) {
    RemoveBlockMap(id);
    return started;
  }
  auto file = std::make_shared<PartialFile>(files, upper, lower, std::move(map));
  nodes_->With(node, [](NodeRecord& r) {
    r.Clear(kNodeBorrows);
    r.Set(kNodePartial);
  });
  STRATA_TRY(partials_.FindOrMake(st.st_ino,
                                  [&]() -> Result<std::shared_ptr<PartialFile>> { return file; }));
  STRATA_TRY(file->Settle());
  CompleteLater(node);
  return {};
}

Result<> UnionEngine::CopyRest(NodeIndex node, PartialFile& file) {
  std::optional<off_t> next = 0;
  while (next) {
    const off_t from = *next;
    STRATA_TRY_ASSIGN(next, file.CopySome(from, kCopyStep));
    if (next) copied_bytes_ += static_cast<std::uint64_t>(*next - from);
  }
  return FinishPartial(node, file);
}

Result<> UnionEngine::FinishPartial(NodeIndex node, PartialFile& file) {
  return file.Finish([&]() -> Result<> {
    const int upper = file.upper();
    STRATA_TRY(OrderData(upper));
    const auto map = BlockMapOf(upper);
    STRATA_TRY(DropBorrowMarks(upper));
    if (map) RemoveBlockMap(*map);
    nodes_->With(Current(node), [](NodeRecord& r) { r.Clear(kNodePartial); });
    return {};
  });
}

Result<> UnionEngine::DropBorrowMarks(int upper) {
  STRATA_TRY(env_.files.RemoveXattr(upper, layers_->xattrs().Metacopy().c_str()));
  for (const std::string& name : {layers_->xattrs().Redirect(), layers_->xattrs().Blocks()}) {
    auto dropped = env_.files.RemoveXattr(upper, name.c_str());
    if (!dropped && dropped.error().code() != ENODATA) {
      Ignore(dropped, "a mark that nobody reads without the metacopy mark");
    }
  }
  return {};
}

void UnionEngine::CompleteLater(NodeIndex node) {
  if (options_.completion_rate == 0) return;
  nodes_->Pin(node);
  const WeakNode weak{node, nodes_->With(node, [](NodeRecord& r) { return r.generation; })};
  if (!completion_.Add(weak)) Drop(node, 0, 1);
}

bool UnionEngine::CopyMore(WeakNode weak, std::uint64_t bytes) {
  const auto step = [&]() -> Result<bool> {
    STRATA_TRY_ASSIGN(const std::shared_ptr<PartialFile> file, Partial(weak.index));
    if (!file || HasAny(weak.index, kNodeOrphan)) return false;
    STRATA_TRY_ASSIGN(const std::optional<off_t> next,
                      file->CopySome(0, static_cast<off_t>(bytes)));
    if (next) return true;
    STRATA_TRY(FinishPartial(weak.index, *file));
    return false;
  };
  auto more = step();
  if (more && *more) return true;
  if (!more) {
    log::Warn("a half-copied file was not completed", {{"error", more.error().ToString()}});
  }
  Drop(weak.index, 0, 1);
  return false;
}

std::optional<BlockMapId> UnionEngine::BlockMapOf(int upper) {
  const auto mark = env_.files.GetXattr(upper, layers_->xattrs().Metacopy().c_str());
  if (!mark) return std::nullopt;
  if (*mark != kHalfCopiedMark) return IdInOldMark(*mark);
  const auto id = env_.files.GetXattr(upper, layers_->xattrs().Blocks().c_str());
  return id ? ParseBlockMapId(*id) : std::nullopt;
}

void UnionEngine::RemoveBlockMap(const BlockMapId& id) {
  Ignore(env_.files.Unlink(work_->blocks_fd(), BlockMapName(id).c_str()),
         "block map that is not needed any more");
}

void UnionEngine::DropBlockMap(int upper) {
  const auto st = env_.files.Stat(upper);
  if (!st || st->st_nlink != 0) return;
  if (const auto id = BlockMapOf(upper)) RemoveBlockMap(*id);
}

// A crash can leave a map whose file never came to need it, or does so no more. Only what is
// certain counts: without its map, a half-copied file is lost, also one with damaged marks.
Result<bool> UnionEngine::IsUnused(const std::string& map) {
  STRATA_TRY_ASSIGN(const std::string text, BlockMap::UpperHandle(BlockMaps(), map.c_str()));
  const auto handle = ParseHandle(text);
  if (!handle) return false;
  const UniqueFd upper = handle->Open(work_->blocks_fd());
  if (!upper) return errno == ESTALE;
  const auto mark = env_.files.GetXattr(upper.get(), layers_->xattrs().Metacopy().c_str());
  return mark ? SaysAllIsBelow(*mark) : mark.error().code() == ENODATA;
}

void UnionEngine::CollectBlockMaps() {
  const int dir = work_->blocks_fd();
  const auto names = NamesIn(env_.files, dir);
  if (!names) {
    log::Warn("block maps cannot be listed", {{"error", names.error().ToString()}});
    return;
  }
  for (const std::string& name : *names) {
    const auto unused = IsUnused(name);
    if (!unused) {
      log::Warn("a block map cannot be read", {{"error", unused.error().ToString()}});
    } else if (*unused) {
      Ignore(env_.files.Unlink(dir, name.c_str()), "block map of a file that is gone");
    }
  }
}

// --- open files ---

Result<std::shared_ptr<PartialFile>> UnionEngine::PartialOf(NodeIndex node, OpenState& state) {
  if (!HasAny(node, kNodePartial)) return std::shared_ptr<PartialFile>();
  {
    MutexLock lock(state.mu);
    if (state.partial) return state.partial;
  }
  STRATA_TRY_ASSIGN(std::shared_ptr<PartialFile> partial, Partial(node));
  if (partial) {
    MutexLock lock(state.mu);
    state.partial = partial;
  }
  return partial;
}

Result<int> UnionEngine::DataFd(NodeIndex node, OpenState& state) {
  MutexLock lock(state.mu);
  // A retired node's handles keep the file they opened.
  if (state.mode == IoMode::kPassthrough && !state.backing_upper) {
    return LowerFdLocked(node, state);
  }
  return HasDataInUpper(node) ? UpperFdLocked(node, state, false) : LowerFdLocked(node, state);
}

Result<int> UnionEngine::WritableFd(NodeIndex node, OpenState& state) {
  MutexLock lock(state.mu);
  return UpperFdLocked(node, state, true);
}

// What writes go to: the half-copied file, or, without one, a descriptor.
Result<UnionEngine::WriteTarget> UnionEngine::TargetOf(NodeIndex node, const Caller* kills_for) {
  WriteTarget target;
  STRATA_TRY_ASSIGN(target.state, StateOf(node));
  constexpr CopyUpNeed kNeed{DataNeed::kWritable, std::nullopt};
  if (!nodes_->With(node, [&](NodeRecord& r) { return Serves(r, kNeed); })) {
    STRATA_TRY(EnsureUpper(node, kNeed));
  }
  STRATA_TRY_ASSIGN(target.partial, PartialOf(node, *target.state));
  if (target.partial) {
    target.fd = target.partial->upper();
  } else {
    STRATA_TRY_ASSIGN(target.fd, WritableFd(node, *target.state));
  }
  if (kills_for != nullptr) STRATA_TRY(KillPrivileges(target.fd, *kills_for));
  return target;
}

Result<> UnionEngine::ReadFile(NodeId node_id, std::uint64_t, off_t offset, std::size_t length,
                               const std::function<Result<>(std::span<const ContentPart>)>& use) {
  const auto node = static_cast<NodeIndex>(node_id.value);
  STRATA_TRY_ASSIGN(const std::shared_ptr<OpenState> state, StateOf(node));
  STRATA_TRY_ASSIGN(const std::shared_ptr<PartialFile> partial, PartialOf(node, *state));
  if (partial) return partial->Read(offset, length, use);
  STRATA_TRY_ASSIGN(const int fd, DataFd(node, *state));
  const ContentPart whole{fd, offset, length};
  return use({&whole, 1});
}

Result<std::size_t> UnionEngine::WriteFile(NodeId node_id, std::uint64_t,
                                           std::span<const std::byte> data, off_t offset,
                                           WriteRules rules) {
  STRATA_TRY_ASSIGN(const WriteTarget target,
                    TargetOf(static_cast<NodeIndex>(node_id.value), rules.kills_for));
  // Stores into memory take no privileges away, our pwrite(2) of such a page would.
  std::optional<std::string> capability;
  if (rules.from_mapping) {
    if (auto value = env_.files.GetXattr(target.fd, kCapability)) capability = std::move(*value);
  }
  std::size_t done = 0;
  while (done < data.size()) {
    const auto rest = data.subspan(done);
    const off_t at = offset + static_cast<off_t>(done);
    auto wrote =
        target.partial ? target.partial->Write(rest, at) : env_.files.WriteAt(target.fd, rest, at);
    if (!wrote && done == 0) return wrote;
    if (!wrote || *wrote == 0) break;
    done += *wrote;
  }
  if (capability && !env_.files.SetXattr(target.fd, kCapability, *capability)) {
    return Fail(EIO, "write", "file capabilities could not be kept");
  }
  return done;
}

Result<> UnionEngine::Sync(NodeId node_id, std::uint64_t, bool data_only) {
  const auto node = static_cast<NodeIndex>(node_id.value);
  if (options_.volatile_upper || !InUpperNow(node)) return {};
  STRATA_TRY_ASSIGN(const std::shared_ptr<OpenState> state, StateOf(node));
  STRATA_TRY_ASSIGN(const std::shared_ptr<PartialFile> partial, PartialOf(node, *state));
  if (partial) return partial->Sync(data_only);
  int fd = -1;
  bool written = false;
  {
    MutexLock lock(state->mu);
    // A retired node's handles keep the file they opened.
    if (state->mode == IoMode::kPassthrough && !state->backing_upper) return {};
    STRATA_TRY_ASSIGN(fd, UpperFdLocked(node, *state, false));
    written = state->written;
  }
  STRATA_TRY(data_only ? env_.files.SyncData(fd) : env_.files.Sync(fd));
  // As in Release(): what a shared mapping has changed must show.
  KernelCache* cache = cache_.load();
  if (written && cache != nullptr) cache->InvalidateAttributes(node_id);
  return {};
}

Result<> UnionEngine::Allocate(NodeId node, std::uint64_t, int mode, off_t offset, off_t length,
                               const Caller* kills_for) {
  STRATA_TRY_ASSIGN(const WriteTarget target,
                    TargetOf(static_cast<NodeIndex>(node.value), kills_for));
  if (target.partial) return target.partial->Allocate(mode, offset, length);
  return env_.files.Allocate(target.fd, mode, offset, length);
}

// The kernel drops the pages that a copied range touches, those that it only touches in part, too,
// and with them what somebody stores there through a shared mapping meanwhile. Of such ranges it is
// to make writes, which it does when told that this is not supported.
Result<> UnionEngine::CheckPagesStay(const WriteTarget& target, off_t offset, std::size_t length) {
  static const auto page = static_cast<off_t>(::sysconf(_SC_PAGESIZE));
  {
    MutexLock lock(target.state->mu);
    if (target.state->mode == IoMode::kPassthrough) return {};  // no pages of its own
  }
  const off_t end = offset + static_cast<off_t>(length);
  if (offset % page == 0 && end % page == 0) return {};
  if (offset % page == 0) {
    STRATA_TRY_ASSIGN(const struct stat st, env_.files.Stat(target.fd));
    if (end >= st.st_size) return {};
  }
  return Fail(EOPNOTSUPP, "copy_file_range", "parts of pages");
}

Result<std::size_t> UnionEngine::CopyRange(NodeId in, std::uint64_t in_handle, off_t in_offset,
                                           NodeId out, std::uint64_t out_handle, off_t out_offset,
                                           std::size_t length, const Caller* kills_for) {
  STRATA_TRY_ASSIGN(const WriteTarget target,
                    TargetOf(static_cast<NodeIndex>(out.value), kills_for));
  STRATA_TRY(CheckPagesStay(target, out_offset, length));
  const auto source = static_cast<NodeIndex>(in.value);
  if (!target.partial && !HasAny(source, kNodePartial)) {
    STRATA_TRY_ASSIGN(const std::shared_ptr<OpenState> state, StateOf(source));
    STRATA_TRY_ASSIGN(const int from, DataFd(source, *state));
    return env_.files.CopyRange(from, in_offset, target.fd, out_offset, length);
  }
  std::vector<std::byte> buffer(std::min(length, kCopyBuffer));
  std::size_t got = 0;
  STRATA_TRY(ReadFile(in, in_handle, in_offset, buffer.size(),
                      [&](std::span<const ContentPart> parts) -> Result<> {
                        STRATA_TRY_ASSIGN(got, GatherParts(env_.files, parts, buffer));
                        return {};
                      }));
  return WriteFile(out, out_handle, std::span(buffer).first(got), out_offset, {});
}

Result<off_t> UnionEngine::Seek(NodeId node_id, std::uint64_t, off_t offset, int whence) {
  const auto node = static_cast<NodeIndex>(node_id.value);
  STRATA_TRY_ASSIGN(const std::shared_ptr<OpenState> state, StateOf(node));
  STRATA_TRY_ASSIGN(const std::shared_ptr<PartialFile> partial, PartialOf(node, *state));
  if (partial) return partial->Seek(offset, whence);
  STRATA_TRY_ASSIGN(const int fd, DataFd(node, *state));
  return env_.files.Seek(fd, offset, whence);
}

}  // namespace strata::fusefs
