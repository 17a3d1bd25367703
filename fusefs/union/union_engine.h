// The engine's insides: what Engine (engine.h) promises, and the parts its operations share. Each
// group of operations has a .cc file of its own: tree, lookup, access, copy_up, content, create,
// remove, rename, open, attributes.
//
// Lock order, outermost first (docs/locking.md): copy-up flight 20, PartialFiles::mu_ 22,
// rename_mu_ 25, Directory::mu 30 (ancestors first), OpenState::mu 40, PartialFile::mu_ 45,
// Directory::stack_mu 50 (descendants first), node stripes 60, the leaf tables 65-80. A layer's
// directory descriptor is fetched (Fd, Fds) before any Directory::mu is taken: finding one may need
// rename_mu_.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file_ops.h"
#include "base/mutex.h"
#include "fusefs/union/cloning.h"
#include "fusefs/union/completion.h"
#include "fusefs/union/data_order.h"
#include "fusefs/union/directory.h"
#include "fusefs/union/engine.h"
#include "fusefs/union/flights.h"
#include "fusefs/union/idle_backings.h"
#include "fusefs/union/layers.h"
#include "fusefs/union/link_groups.h"
#include "fusefs/union/node_table.h"
#include "fusefs/union/partial_file.h"
#include "fusefs/union/side_table.h"
#include "fusefs/union/walk_ahead.h"
#include "fusefs/union/work_dir.h"

namespace strata::fusefs {

// Names move while they are followed; what keeps moving that often is an error, not bad luck.
inline constexpr int kMaxRaces = 1000;
// Lower files the kernel keeps open for the next time.
inline constexpr std::size_t kIdleBackings = 1024;
inline constexpr mode_t kPermissions = 07777;
inline constexpr char kChangedOutside[] =
    "the file is not where the union put it: a layer was changed from outside";
inline constexpr char kAccessAcl[] = "system.posix_acl_access";
inline constexpr char kDefaultAcl[] = "system.posix_acl_default";

// What open handles of one node share. A node is in one I/O mode at a time (FACTS §2).
struct OpenState {
  Mutex mu;                                   // rank 40
  bool closed STRATA_GUARDED_BY(mu) = false;  // the last handle is gone: look for another one
  std::uint32_t handles STRATA_GUARDED_BY(mu) = 0;
  IoMode mode STRATA_GUARDED_BY(mu) = IoMode::kCached;
  std::int32_t backing_id STRATA_GUARDED_BY(mu) = 0;
  bool backing_upper STRATA_GUARDED_BY(mu) = false;  // the backing file is the upper one
  bool written STRATA_GUARDED_BY(mu) = false;        // opened for writing in passthrough mode
  // Descriptors stay until the last handle is released: callers borrow their numbers meanwhile.
  SharedFd lower STRATA_GUARDED_BY(mu);
  SharedFd upper STRATA_GUARDED_BY(mu);
  SharedFd upper_writable STRATA_GUARDED_BY(mu);
  std::shared_ptr<PartialFile> partial STRATA_GUARDED_BY(mu);  // of a half-copied file
};

// Of a retired node: who was told to look the name up again, and when. The same task coming back at
// once means that there is no name to look up (a re-open through /proc/self/fd).
struct RetiredNode {
  Mutex mu;  // rank 40
  pid_t sent_away STRATA_GUARDED_BY(mu) = 0;
  std::chrono::steady_clock::time_point when STRATA_GUARDED_BY(mu);
};

// How much of a file's data must be in the upper layer.
enum class DataNeed : std::uint8_t {
  kNone,      // only attributes change
  kWritable,  // every block can be written; those that nobody wrote may still be below
  kWhole,     // all of it
};
struct CopyUpNeed {
  DataNeed data = DataNeed::kNone;
  std::optional<off_t> size = std::nullopt;  // the file is about to be cut to that
};

using ChainEntry = layerstore::MetadataIndex::Entry;

class UnionEngine final : public Engine {
 public:
  UnionEngine(EngineOptions options, EngineEnv env)
      : options_(std::move(options)),
        env_(env),
        cloning_(env_.files),
        completion_(options_.completion_rate,
                    [this](WeakNode file, std::uint64_t bytes) { return CopyMore(file, bytes); }),
        walk_ahead_(options_.walk_ahead_threads, [this](WeakNode node) { LoadAhead(node); }) {}
  Result<> Start();

  Result<> Close() override;
  void Connect(BackingFiles* backing, KernelCache* cache) override;
  Result<EntryReply> Lookup(NodeId parent, std::string_view name) override;
  void Forget(NodeId node, std::uint64_t count) override;
  Result<struct stat> GetAttr(NodeId node, bool* stable) override;
  Result<struct timespec> BirthTime(NodeId node) override;
  Result<struct stat> SetAttr(NodeId node, const AttrChange& change, const Caller& who,
                              bool* stable) override;
  Result<std::string> ReadLink(NodeId node) override;
  Result<> List(NodeId dir, std::uint64_t offset, bool attributes,
                const std::function<bool(const ListedEntry&)>& add) override;
  Result<EntryReply> MakeNode(NodeId parent, std::string_view name, mode_t mode, dev_t dev,
                              const Caller& who) override;
  Result<EntryReply> MakeDir(NodeId parent, std::string_view name, mode_t mode,
                             const Caller& who) override;
  Result<EntryReply> SymLink(NodeId parent, std::string_view name, const char* target,
                             const Caller& who) override;
  Result<EntryReply> Link(NodeId node, NodeId parent, std::string_view name) override;
  Result<> Unlink(NodeId parent, std::string_view name) override;
  Result<> RemoveDir(NodeId parent, std::string_view name) override;
  Result<> Rename(NodeId from_parent, std::string_view from, NodeId to_parent, std::string_view to,
                  unsigned flags) override;
  Result<Created> Create(NodeId parent, std::string_view name, mode_t mode, int flags,
                         const Caller& who) override;
  Result<Created> CreateUnnamed(NodeId dir, mode_t mode, int flags, const Caller& who) override;
  Result<OpenReply> OpenFile(NodeId node, int flags, const Caller& who) override;
  void Release(NodeId node, std::uint64_t handle) override;
  FileKey LockKey(NodeId node) override;
  Result<> ReadFile(NodeId node, std::uint64_t handle, off_t offset, std::size_t length,
                    const std::function<Result<>(std::span<const ContentPart>)>& use) override;
  Result<std::size_t> WriteFile(NodeId node, std::uint64_t handle, std::span<const std::byte> data,
                                off_t offset, WriteRules rules) override;
  Result<> Sync(NodeId node, std::uint64_t handle, bool data_only) override;
  Result<> SyncDir(NodeId node) override;
  Result<> Allocate(NodeId node, std::uint64_t handle, int mode, off_t offset, off_t length,
                    const Caller* kills_for) override;
  Result<std::size_t> CopyRange(NodeId in, std::uint64_t in_handle, off_t in_offset, NodeId out,
                                std::uint64_t out_handle, off_t out_offset, std::size_t length,
                                const Caller* kills_for) override;
  Result<off_t> Seek(NodeId node, std::uint64_t handle, off_t offset, int whence) override;
  Result<std::string> GetXattr(NodeId node, const char* name) override;
  Result<std::vector<std::string>> ListXattr(NodeId node) override;
  Result<> SetXattr(NodeId node, const char* name, std::string_view value, int flags,
                    bool kill_setgid) override;
  Result<> RemoveXattr(NodeId node, const char* name) override;
  Result<> InodeFlags(NodeId node, unsigned command, std::span<std::byte> argument) override;
  Result<struct statvfs> StatVfs() override;
  Result<FinalizeReport> Finalize() override;
  Counters Count() const override;

 private:
  using Slot = NameTable::Slot;

  // One layer directory of a union directory, opened.
  struct LayerFd {
    LayerIndex layer = 0;
    SharedFd fd;
  };

  // --- tree.cc: directories and their layers ---------------------------------------------------
  // ENOTDIR unless `node` is a directory.
  Result<DirectoryRef> Dir(NodeIndex node);
  // The directory's part in one layer; ENOENT if it has none there. No directory lock may be held.
  Result<SharedFd> Fd(Directory& dir, LayerIndex layer);
  // All its parts, topmost first, that of a chain without a descriptor. No directory lock may be
  // held.
  Result<std::vector<LayerFd>> Fds(Directory& dir);
  bool HasUpper(const Directory& dir);
  Result<> EnsureLoaded(Directory& dir);

  Result<> ResolveLocked(Directory& dir) STRATA_REQUIRES(dir.stack_mu);
  Result<SharedFd> FdLocked(Directory& dir, LayerIndex layer) STRATA_REQUIRES(dir.stack_mu);
  // A layer's directory, for its names.
  Result<UniqueFd> OpenDirectory(LayerIndex layer, int parent, const char* name);
  Result<SharedFd> OpenEntryLocked(Directory& dir, StackEntry& entry) STRATA_REQUIRES(dir.stack_mu);
  Result<SharedFd> ChainFdLocked(Directory& dir, LayerIndex layer) STRATA_REQUIRES(dir.stack_mu);
  // Where the directory is in a lower layer, from the layer's root, without a leading slash.
  Result<std::string> LowerPathLocked(Directory& dir, LayerIndex layer)
      STRATA_REQUIRES(dir.stack_mu);
  // Where the union of the lower layers alone shows the directory: what a redirect mark in the
  // upper layer says. In a single layer the same directory may have another path (renames recorded
  // in lower layers).
  Result<std::string> LowerUnionPathLocked(Directory& dir) STRATA_REQUIRES(dir.stack_mu);
  Result<> FollowRedirect(Directory& dir, DirectoryRef parent, LayerIndex layer,
                          std::string redirect) STRATA_REQUIRES(dir.stack_mu);
  // The chain's part of a directory that has the same name in its parent's, or that number.
  Result<> ResolveInChain(Directory& dir, Directory& parent, const std::string& name)
      STRATA_REQUIRES(dir.stack_mu);
  Result<> AddChainPart(Directory& dir, ChainDirectory number) STRATA_REQUIRES(dir.stack_mu);
  void RememberFd(Directory& dir, LayerIndex layer);
  void EvictFds();
  Result<> Load(Directory& dir, const std::vector<LayerFd>& parts) STRATA_REQUIRES(dir.mu);

  // --- lookup.cc: names to nodes ----------------------------------------------------------------
  // A node with one lookup taken, and its attributes if they came along.
  struct Bound {
    WeakNode node;
    std::optional<struct stat> attr;
  };
  // Where a name of `layer` is, for Bind(). No directory lock may be held.
  struct NamePlace {
    SharedFd dir;                     // the directory's part in the layer; null where not needed
    std::optional<ChainEntry> entry;  // of what is in the chain
  };
  Result<NamePlace> FindPlace(Directory& dir, LayerIndex layer, std::string_view name);
  // The node behind a name, made if need be. `place`: as found for the name's topmost layer.
  Result<Bound> Bind(Directory& dir, Slot slot, const NamePlace& place) STRATA_REQUIRES(dir.mu);
  struct RootInode {
    LayerIndex layer;
    ino_t ino;
  };
  Result<RootInode> FindRoot(LayerIndex layer);
  Result<ChainEntry> FindInChain(Directory& dir, std::string_view name);
  struct FoundName {
    struct stat st = {};
    int dir = -1;                                          // in which it is, if that is open
    std::uint32_t entry = 0;                               // in the chain's index
    std::optional<std::uint32_t> identity = std::nullopt;  // as that says
  };
  Result<Bound> BindDirectory(Directory& dir, Slot slot, const FoundName& found)
      STRATA_REQUIRES(dir.mu);
  // kNodeBorrows, kNodePartial or 0: where a regular file's data is.
  Result<std::uint16_t> DataFlagsOf(LayerIndex layer, const struct stat& st, int dir,
                                    const std::string& name);
  Result<Bound> BindFile(Directory& dir, Slot slot, const FoundName& found) STRATA_REQUIRES(dir.mu);
  std::optional<std::string> IndexNameOf(LayerIndex layer, const std::string& name,
                                         const FoundName& found);
  // What tells a lower file from all others, across copy-up and mounts.
  std::string OriginOf(LayerIndex layer, const std::string& name, const FoundName& found) const;
  // A known node of the link group of a file, if there is one.
  std::optional<WeakNode> TryLinked(RealInode inode);
  // Lists what fits from *offset on, moving it; 0 when there is no more to list or no room.
  // Has the siblings that a walk will list after `dir` loaded; `self` is its node.
  void LoadAheadOf(const Directory& dir, const NodeView& self);
  void LoadAhead(WeakNode node);
  Result<> Warm(NodeIndex node);
  Result<std::size_t> ListBatch(Directory& dir, Slot* next, bool attributes,
                                const std::function<bool(const ListedEntry&)>& add);
  Result<EntryReply> Reply(Bound bound);
  // Follows retired nodes to the one in use.
  WeakNode Current(WeakNode node);
  NodeIndex Current(NodeIndex node);
  Result<WeakNode> AddNode(const NodeRecord& fields, std::string_view name);
  // Gives references back and frees what nobody holds any more.
  void Drop(NodeIndex node, std::uint64_t lookups, std::uint32_t refs);
  RealInode RealInodeOf(const NodeRecord& record) const;
  bool InVolume(LayerIndex layer, const struct stat& st) const;
  // The number to show for a real inode, honouring what copy-up recorded. `dir`/`name` lead to it.
  std::uint64_t ShownIno(LayerIndex layer, const struct stat& st, int dir, const char* name);

  // --- access.cc: nodes to files ----------------------------------------------------------------
  // Opens what the node stands for now and makes sure that it is that. O_CLOEXEC and O_NOFOLLOW are
  // implied.
  Result<SharedFd> OpenNode(NodeIndex node, int flags);
  // Of an open file in the upper layer; else null.
  SharedFd OpenInUpper(NodeIndex node);
  // To look at and change attributes by, not the content: that of an open file, if there is one.
  Result<SharedFd> AttributeFd(NodeIndex node);
  Result<struct stat> StatNode(NodeIndex node);
  bool IsMerged(Directory& dir);
  static struct stat AttributesOf(const ChainEntry& entry);
  // What the chain's index says of the node, if it is one of the chain's.
  Result<std::optional<ChainEntry>> EntryInChain(NodeIndex node);
  // Links shown less those the upper inode dir/name has, as a mark on that tells.
  std::int32_t LinkDeltaOf(int dir, const std::string& name, nlink_t upper_links);
  // Turns a real stat into the one shown.
  void Present(const NodeRecord& record, struct stat& st) const;

  // Held by whoever moves or removes a file's name: for a moment the disk is ahead of the tables.
  class Moving {
   public:
    explicit Moving(UnionEngine& engine) : engine_(engine) { ++engine_.moving_; }
    ~Moving() { --engine_.moving_; }
    Moving(const Moving&) = delete;
    Moving& operator=(const Moving&) = delete;

   private:
    UnionEngine& engine_;
  };
  // How often a file was looked for where it was not.
  struct Misses {
    int quiet = 0;   // while nobody was moving anything
    int waited = 0;  // for somebody to finish
  };
  // Whether to look again, at once or after a pause.
  bool LookAgain(Misses& misses) const;

  // --- copy_up.cc -----------------------------------------------------------------------------
  Result<> EnsureUpper(NodeIndex node, CopyUpNeed need = {});
  Result<> EnsureUpperDir(NodeIndex node);
  Result<> CopyUpRemovedDir(Directory& dir);
  Result<> EnsureUpperFile(NodeIndex node, CopyUpNeed need);
  static bool Serves(const NodeRecord& record, const CopyUpNeed& need);
  Result<> CopyUpFile(NodeIndex node, const NodeView& view, CopyUpNeed need);
  // The copy-up may leave the data where it is.
  bool MayBorrow(const struct stat& st, const CopyUpNeed& need) const;
  // Copies everything but the data: owner, mode, xattrs and, last, times.
  Result<> CopyAttributes(int from, const struct stat& st, int to);
  Result<> CopyXattrs(int from, int to);
  // What a copy is made from.
  struct CopySource {
    int attributes = -1;
    int data = -1;
    const struct stat& st;
    std::uint64_t shown_ino = 0;
    std::string origin;
    std::string lower_path;  // in the union of the lower layers; of what may borrow its data
  };
  struct StagedCopy {
    StagedFile file;
    bool borrows = false;
  };
  Result<StagedCopy> StageCopy(const CopySource& from, CopyUpNeed need);
  // Gives an empty staged file its content, or its size and the marks that say where that is; true
  // for the latter.
  Result<bool> StageData(const CopySource& from, CopyUpNeed need, int to);
  Result<> CopyData(int from, int to, off_t size, const struct stat& st);
  Result<> PublishFile(NodeIndex node, StagedCopy copy,
                       const std::optional<std::string>& index_name, nlink_t lower_links);
  Result<> OrderData(int file);
  // Our own marks on upper files; filesystems and file types that cannot carry them only lose
  // number stability.
  void SetMark(int fd, const std::string& name, std::string_view value);
  void MarkIno(int fd, std::uint64_t ino);
  // Links a staged copy into the index of link groups; takes an entry out that has no names (left).
  Result<> AddToIndex(NodeIndex node, const StagedFile& staged, const std::string& name,
                      nlink_t lower_links);
  void TakeFromIndex(NodeIndex node, const std::string& name);
  void StoreLinkDelta(NodeIndex node);

  // --- content.cc: open files' content, and files whose data is below, wholly or in part --------
  // The lower file that has the data of a file which borrows it; open for reading.
  Result<SharedFd> OpenLowerData(NodeIndex node);
  // The same for the file at `path` in the union of the layers below `layer`.
  Result<SharedFd> FindLowerData(LayerIndex layer, std::string path);
  Result<SharedFd> FindDataInChain(ChainDirectory directory, std::string_view name);
  // The same for a name in one directory of `layer`.
  Result<SharedFd> FindDataIn(int dir, LayerIndex layer, std::string* name);
  // The object for a half-copied file; nullptr once it is whole.
  Result<std::shared_ptr<PartialFile>> Partial(NodeIndex node);
  // The same for an open one, kept until its last handle is released.
  Result<std::shared_ptr<PartialFile>> PartialOf(NodeIndex node, OpenState& state);
  // Brings an upper file that lacks data to what is needed. Its flight must be held.
  Result<> TakeData(NodeIndex node, const CopyUpNeed& need);
  Result<> StartPartial(NodeIndex node, const SharedFd& upper);
  Result<> CopyRest(NodeIndex node, PartialFile& file);
  Result<> FinishPartial(NodeIndex node, PartialFile& file);
  // Hands the file over to Completion, with a reference that keeps its node.
  void CompleteLater(NodeIndex node);
  // A step of it.
  bool CopyMore(WeakNode node, std::uint64_t bytes);
  // The upper file has all data: no mark says otherwise any more.
  Result<> DropBorrowMarks(int upper);
  BlockMapDir BlockMaps() { return {env_.files, work_->blocks_fd(), layers_->xattrs().BlockMap()}; }
  // The map an upper file's marks name; nothing if they name none or are damaged.
  std::optional<BlockMapId> BlockMapOf(int upper);
  void RemoveBlockMap(const BlockMapId& id);
  // The file's map if it has no name left.
  void DropBlockMap(int upper);
  // Removes block maps an earlier run left without a file that needs them.
  void CollectBlockMaps();
  Result<bool> IsUnused(const std::string& map);
  // To read a file that is not half-copied from; valid while the handle is open.
  Result<int> DataFd(NodeIndex node, OpenState& state);
  // To write an upper file to that has its data.
  Result<int> WritableFd(NodeIndex node, OpenState& state);
  // What takes a file's writes, after copy-up where that is due.
  struct WriteTarget {
    std::shared_ptr<OpenState> state;      // keeps `fd` open
    std::shared_ptr<PartialFile> partial;  // if it is half-copied
    int fd = -1;                           // of the upper file
  };
  Result<WriteTarget> TargetOf(NodeIndex node, const Caller* kills_for);
  Result<> CheckPagesStay(const WriteTarget& target, off_t offset, std::size_t length);
  bool HasAny(NodeIndex node, std::uint16_t flags) {
    return nodes_->With(node, [&](NodeRecord& r) { return (r.flags & flags) != 0; });
  }

  // --- finalize.cc ----------------------------------------------------------------------------
  // `path` is the directory's, for errors.
  Result<> FinalizeBelow(NodeId dir, const std::string& path, FinalizeReport& report);
  Result<> FinalizeFile(NodeIndex parent, const std::string& name, NodeIndex node,
                        FinalizeReport& report);
  Result<> RemoveIndex(FinalizeReport& report);

  // --- create.cc, unnamed.cc, remove.cc, rename.cc
  // ------------------------------------------------------------
  struct NewEntry {
    mode_t mode = 0;  // type and permissions as asked for
    dev_t dev = 0;
    const char* target = nullptr;  // of a symbolic link
    UniqueFd* opened = nullptr;    // regular files: wants the open descriptor
    const Caller& who;
  };
  Result<Bound> AddEntry(NodeIndex parent, std::string_view name, const NewEntry& what);
  Result<> MakeInPlace(int dir, const char* name, const NewEntry& what, mode_t mode);
  // Gives the attributes as settled. An empty name means `dir` itself.
  Result<struct stat> SettleOwner(int dir, const char* name, const NewEntry& what, mode_t mode,
                                  const Inheritance& from);
  Result<struct stat> MakeOverWhiteout(int upper, const std::string& name, const NewEntry& what,
                                       mode_t mode, const Inheritance& from);
  Result<> ShedAcls(int dir, const char* name);
  Result<Inheritance> Inherited(Directory& dir, int upper) STRATA_REQUIRES(dir.mu);
  static Result<> CheckNewName(std::string_view name);
  Result<> MarkOpaque(int upper, const std::string& name);
  Result<Bound> AdoptNew(Directory& dir, const std::string& name, const struct stat& st)
      STRATA_REQUIRES(dir.mu);
  // A node whose name was removed has another one: it is found there from now on.
  void Rehome(NodeIndex node, const Directory& dir, std::string_view name);

  // Keeps a node reachable whose name is about to go away: call Keep before the name is removed,
  // Detach after.
  SharedFd Keep(const Directory& dir, const std::string& name, WeakNode node, int upper);
  void Detach(const Directory& dir, std::string_view name, WeakNode node, SharedFd kept);
  // Removes a name that is not a directory, on disk and from the tables.
  Result<> RemoveFileName(Directory& dir, Slot slot, int upper) STRATA_REQUIRES(dir.mu);
  Result<> RemoveDirName(Directory& dir, Slot slot, int upper) STRATA_REQUIRES(dir.mu);
  void ForgetName(Directory& dir, Slot slot) STRATA_REQUIRES(dir.mu);
  // A lower name of a link group whose file is in the upper layer is gone or became an upper name.
  void LowerNameGone(NodeIndex node);
  // Removes the index entry of a link group without names.
  void CollectIndexEntry(NodeIndex node);
  Result<> RemoveDirLocked(Directory& dir, Directory& child, const std::string& name, int upper)
      STRATA_REQUIRES(dir.mu, child.mu);
  // A removed directory has no name to be opened by: its parts stay open.
  void KeepParts(Directory& dir, const std::vector<LayerFd>& parts);
  // Makes an upper directory that only holds whiteouts really empty: opaque first, so that nothing
  // shows in between.
  Result<> ClearWhiteouts(int upper, const std::string& name);

  // A lookup held for the length of an operation.
  class Held {
   public:
    Held(UnionEngine& engine, const EntryReply& entry) : engine_(engine), entry_(entry) {}
    ~Held() { engine_.Forget(entry_.node, 1); }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    NodeIndex index() const { return static_cast<NodeIndex>(entry_.node.value); }
    const struct stat& attr() const { return entry_.attr; }

   private:
    UnionEngine& engine_;
    EntryReply entry_;
  };

  // One of the two names a rename is about, with what was found there before the locks were taken.
  struct RenameSide;
  // False if the names changed meanwhile and the rename starts over.
  Result<bool> TryRename(RenameSide& from, RenameSide& to, unsigned flags);
  Result<RenameSide> OpenRenameSide(NodeIndex parent, std::string_view name, bool must_exist);
  Result<> CheckReplace(const RenameSide& from, const RenameSide& to);
  Result<> PrepareRename(RenameSide& from, RenameSide& to, unsigned flags);
  Result<bool> RenameLocked(RenameSide& from, RenameSide& to, unsigned flags);
  bool StillAsFound(RenameSide& side);
  // A lower name of a file that is in the upper layer under another name gets an upper name of its
  // own. `upper` is the directory's, `file` the file's; not needed if the name is an upper one.
  Result<> PromoteName(Directory& dir, Slot slot, NodeIndex node, int upper, int file)
      STRATA_REQUIRES(dir.mu);
  Result<> PromoteName(RenameSide& side);
  // Lets a moved directory find its lower parts, or keeps those of its new place out.
  Result<> MarkMovedDirectory(RenameSide& moved, RenameSide& target);
  Result<> SwapWithWhiteout(RenameSide& from, RenameSide& to);
  Result<> MoveOnDisk(RenameSide& from, RenameSide& to);
  Result<> MoveLeavingWhiteout(RenameSide& from, RenameSide& to, bool replaces);
  Result<> FixLowerPaths(RenameSide& moved);
  void MoveInMemory(RenameSide& from, RenameSide& to);
  void ExchangeInMemory(RenameSide& from, RenameSide& to);
  void MoveNode(NodeIndex node, const RenameSide& from, const RenameSide& to);

  // --- open.cc, attributes.cc
  // ---------------------------------------------------------------------
  // `mode`: the file's, where it is known.
  Result<OpenReply> OpenCurrent(NodeIndex node, int flags,
                                std::optional<mode_t> mode = std::nullopt);
  // The first handle of a file that was just made, with the descriptor it was made by.
  Result<Created> OpenCreated(const Bound& made, UniqueFd opened, int flags);
  // A further handle in the state's mode; ESTALE if that cannot serve it and the node must be
  // retired.
  Result<OpenReply> Join(NodeIndex node, OpenState& state, int flags, bool passthrough)
      STRATA_REQUIRES(state.mu);
  static Result<> CheckProtection(int fd, int flags);
  Result<bool> StartPassthrough(NodeIndex node, OpenState& state, int flags)
      STRATA_REQUIRES(state.mu);
  Result<bool> WantsPassthrough(NodeIndex node, int flags,
                                std::optional<mode_t> mode = std::nullopt);
  void DropBacking(std::optional<std::int32_t> id);
  // Replaces a node that has open handles on a backing file which is no longer the right one.
  Result<> Retire(NodeIndex node);
  Result<> MakeWayFor(NodeIndex node, int flags);
  Result<OpenReply> OpenRetired(NodeIndex node, int flags, const Caller& who);
  // Somebody found the successor by name: nobody is on the way any more.
  void ArrivedByName(NodeIndex node);
  // Attributes changed through a retired node: the kernel knows them by the node in use.
  void AttributesChanged(NodeId asked, NodeIndex changed);
  // `appends`: opened to append, which append-only files can be.
  Result<int> UpperFdLocked(NodeIndex node, OpenState& state, bool writable, bool appends = false)
      STRATA_REQUIRES(state.mu);
  Result<int> LowerFdLocked(NodeIndex node, OpenState& state) STRATA_REQUIRES(state.mu);
  Result<std::shared_ptr<OpenState>> StateOf(NodeIndex node);
  // Where nobody says when files are opened and closed, it stays with those used last.
  std::shared_ptr<OpenState> FindOrMakeState(NodeIndex node);
  bool InUpperNow(NodeIndex node);
  // In the upper layer, with data of its own.
  bool HasDataInUpper(NodeIndex node);
  // `same_size`: by truncate(2), which on some filesystems is no change then.
  Result<> Truncate(NodeIndex node, off_t size, const Caller* kills_for, bool same_size = false);
  // Clears setuid, and setgid where it means privilege or `who` is not of the group, as the kernel
  // does; capabilities go with the write that follows.
  Result<> KillPrivileges(int fd, const Caller& who);
  // The same for a file in the upper layer.
  Result<> KillPrivilegesOf(NodeId node, const Caller& who);
  std::string StoredXattrName(const char* name) const;
  Result<bool> KnownToLack(NodeIndex node, std::string_view name);
  Result<> CheckXattrChange(NodeIndex node, const std::string& name, int flags);
  // Checks, copies up, and does `change` to the upper file; `flags` as for setxattr(2).
  Result<> ChangeXattr(NodeId node, const std::string& stored, int flags,
                       const std::function<Result<>(int fd)>& change);
  // Changes owner and group; `kills_for`: and clears what set-id bits chown(2) would for its
  // caller.
  Result<> Chown(int fd, const AttrChange& change, const Caller* kills_for);
  // Changes owner, mode and times; `kills_for`: clears set-id bits, too.
  Result<> ChangeAttributes(int fd, const AttrChange& change, const Caller* kills_for);
  // After a change, or half of one, of what new names take over, if the node is a directory.
  Result<> ForgetInheritance(NodeIndex node);

  EngineOptions options_;
  EngineEnv env_;
  std::atomic<BackingFiles*> backing_ = nullptr;
  std::atomic<KernelCache*> cache_ = nullptr;

  std::unique_ptr<Layers> layers_;
  std::unique_ptr<WorkDir> work_;  // nullptr for a read-only union
  DataOrder data_order_ = DataOrder::kSync;
  std::unique_ptr<LinkGroups> links_;
  std::unique_ptr<NodeTable> nodes_;
  SideTable<Directory> dirs_;
  SideTable<OpenState> open_files_;
  SideTable<const UniqueFd> orphans_;         // O_PATH descriptors of nodes without a name
  SideTable<const std::string> index_names_;  // of kNodeIndexed nodes
  // By retired node, and by the node that took its place: one object for all retired nodes of a
  // file.
  SideTable<RetiredNode> retired_;
  SideTable<RetiredNode> successors_;
  Flights flights_;
  IdleBackings idle_backings_{kIdleBackings};
  PartialFiles partials_;
  Cloning cloning_;

  // Held exclusively by renames that move directories or cross them; shared while names lead to
  // descriptors.
  SharedMutex rename_mu_;        // rank 25
  std::atomic<int> moving_ = 0;  // threads that hold a Moving

  // Layer directory descriptors kept open, oldest first. By number: a reference would keep the
  // memory of directories that are forgotten. Another one of that number closes one too early.
  Mutex fds_mu_;  // rank 75
  std::deque<std::pair<NodeIndex, LayerIndex>> cached_fds_ STRATA_GUARDED_BY(fds_mu_);
  // Without opens, files with descriptors, oldest first.
  std::deque<std::pair<NodeIndex, std::weak_ptr<OpenState>>> recent_files_
      STRATA_GUARDED_BY(fds_mu_);
  std::size_t max_cached_fds_ = 1024;

  std::atomic<std::uint64_t> copy_ups_ = 0;
  std::atomic<std::uint64_t> copied_bytes_ = 0;
  std::atomic<std::uint64_t> passthrough_opens_ = 0;
  std::atomic<std::uint64_t> cached_opens_ = 0;
  std::atomic<std::uint64_t> retired_nodes_ = 0;

  // Last: their threads use all of the above.
  Completion completion_;
  WalkAhead walk_ahead_;
};

}  // namespace strata::fusefs
