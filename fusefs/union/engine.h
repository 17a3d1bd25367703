// The copy-on-write union: one tree over a stack of layers. DESIGN §4 says what each operation
// does, DESIGN §5 why the engine has this shape, docs/locking.md in which order it locks.
#pragma once

#include <sys/statvfs.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/file_ops.h"
#include "fusefs/union/file_locks.h"
#include "fusefs/union/types.h"

namespace strata::fusefs {

// Gives the kernel files to serve reads and writes from (FUSE passthrough). Thread-safe.
class BackingFiles {
 public:
  virtual ~BackingFiles() = default;
  // A backing id (> 0) for the open file; the descriptor may be closed afterwards.
  virtual Result<std::int32_t> Register(int fd) = 0;
  virtual void Unregister(std::int32_t id) = 0;
};

// Tells the kernel that something it caches changed. Called without engine locks held. Thread-safe.
class KernelCache {
 public:
  virtual ~KernelCache() = default;
  virtual void InvalidateAttributes(NodeId node) = 0;
};

// What the engine talks to. All are borrowed and must outlive the engine; `backing` and `cache` may
// be nullptr and may be set once, before the first operation, through Connect().
struct EngineEnv {
  FileOps& files;
  BackingFiles* backing = nullptr;
  KernelCache* cache = nullptr;
};

// What Engine::Finalize() did.
struct FinalizeReport {
  std::uint64_t completed = 0;      // files that got the data they borrowed
  std::uint64_t linked = 0;         // lower names that got upper ones
  std::uint64_t index_entries = 0;  // taken out of the index of links
  std::uint64_t kept = 0;           // left there: not all of their names are in the union
};

// One union. All methods are thread-safe and follow the semantics (and errno values) of the system
// call of their name; permission checks are the kernel's (default_permissions). Errors' codes are
// errno values ready for a reply. A modifying call on a union without an upper layer fails with
// EROFS.
class Engine {
 public:
  // Opens the layers and checks them: ENOTEMPTY for a work directory with things no overlay made;
  // EINVAL for an upper that was used volatile and not closed; ENOENT/ENOTDIR for a missing layer,
  // EINVAL for an upper inside a lower (or the reverse) or a work directory on another filesystem
  // than the upper, EBUSY for an upper another mount uses, EROFS for one on a read-only
  // filesystem. Clears what an earlier run left in the work directory.
  static Result<std::unique_ptr<Engine>> Open(EngineOptions options, EngineEnv env);
  virtual ~Engine() = default;

  // For the end of a union that nobody uses any more: a volatile upper is brought to the disk, and
  // its mark taken away. Without this call, as after a crash, and with an error, the mark stays.
  virtual Result<> Close() = 0;

  // Sets the kernel connection once it exists; before that nothing is passed through.
  virtual void Connect(BackingFiles* backing, KernelCache* cache) = 0;

  // --- names and nodes -------------------------------------------------------------------------
  // ENOENT if there is no such name (the kernel may cache that for ever).
  virtual Result<EntryReply> Lookup(NodeId parent, std::string_view name) = 0;
  // Gives back `count` lookups; the node may be gone afterwards.
  virtual void Forget(NodeId node, std::uint64_t count) = 0;
  // `stable` is false if the kernel must not cache the answer (a retired node).
  virtual Result<struct stat> GetAttr(NodeId node, bool* stable) = 0;
  // When the inode that stands for the file now was made; ENODATA where its filesystem does not
  // know.
  virtual Result<struct timespec> BirthTime(NodeId node) = 0;
  // Gives the attributes afterwards; `stable` as for GetAttr().
  virtual Result<struct stat> SetAttr(NodeId node, const AttrChange& change, const Caller& who,
                                      bool* stable) = 0;
  virtual Result<std::string> ReadLink(NodeId node) = 0;

  // Lists a directory from `offset` (0: the start) until `add` returns false for want of room. With
  // `attributes`, each entry but "." and ".." comes with an EntryReply that counts a lookup unless
  // `add` refused it.
  virtual Result<> List(NodeId dir, std::uint64_t offset, bool attributes,
                        const std::function<bool(const ListedEntry&)>& add) = 0;

  virtual Result<EntryReply> MakeNode(NodeId parent, std::string_view name, mode_t mode, dev_t dev,
                                      const Caller& who) = 0;
  virtual Result<EntryReply> MakeDir(NodeId parent, std::string_view name, mode_t mode,
                                     const Caller& who) = 0;
  virtual Result<EntryReply> SymLink(NodeId parent, std::string_view name, const char* target,
                                     const Caller& who) = 0;
  virtual Result<EntryReply> Link(NodeId node, NodeId parent, std::string_view name) = 0;
  virtual Result<> Unlink(NodeId parent, std::string_view name) = 0;
  virtual Result<> RemoveDir(NodeId parent, std::string_view name) = 0;
  // `flags`: RENAME_NOREPLACE, RENAME_EXCHANGE; EINVAL for others.
  virtual Result<> Rename(NodeId from_parent, std::string_view from, NodeId to_parent,
                          std::string_view to, unsigned flags) = 0;

  // --- open files ------------------------------------------------------------------------------
  struct Created {
    EntryReply entry;
    OpenReply open;
  };
  // Creates and opens; an existing file is opened unless O_EXCL.
  virtual Result<Created> Create(NodeId parent, std::string_view name, mode_t mode, int flags,
                                 const Caller& who) = 0;
  // O_TMPFILE: a file of the upper layer that gets a name by Link() or never. EOPNOTSUPP where the
  // upper filesystem has no such files.
  virtual Result<Created> CreateUnnamed(NodeId dir, mode_t mode, int flags, const Caller& who) = 0;
  // ESTALE means: the node was retired, the kernel must look the name up again (FACTS §2). O_TRUNC
  // is honoured.
  virtual Result<OpenReply> OpenFile(NodeId node, int flags, const Caller& who) = 0;
  virtual void Release(NodeId node, std::uint64_t handle) = 0;
  // What locks on the file belong to: the same for every node that stands for it.
  virtual FileKey LockKey(NodeId node) = 0;
  // Calls `use` with the parts [offset, offset + length) consists of, in order, up to the end of
  // the file; they hold during the call, whose error is passed on.
  virtual Result<> ReadFile(NodeId node, std::uint64_t handle, off_t offset, std::size_t length,
                            const std::function<Result<>(std::span<const ContentPart>)>& use) = 0;
  // As pwrite(2), after copy-up where that is due.
  virtual Result<std::size_t> WriteFile(NodeId node, std::uint64_t handle,
                                        std::span<const std::byte> data, off_t offset,
                                        WriteRules rules) = 0;
  virtual Result<> Sync(NodeId node, std::uint64_t handle, bool data_only) = 0;
  virtual Result<> SyncDir(NodeId node) = 0;
  // fallocate(2) and copy_file_range(2); `kills_for` as in WriteRules.
  virtual Result<> Allocate(NodeId node, std::uint64_t handle, int mode, off_t offset, off_t length,
                            const Caller* kills_for) = 0;
  virtual Result<std::size_t> CopyRange(NodeId in, std::uint64_t in_handle, off_t in_offset,
                                        NodeId out, std::uint64_t out_handle, off_t out_offset,
                                        std::size_t length, const Caller* kills_for) = 0;
  // SEEK_DATA and SEEK_HOLE.
  virtual Result<off_t> Seek(NodeId node, std::uint64_t handle, off_t offset, int whence) = 0;

  // --- extended attributes and the whole -------------------------------------------------------
  virtual Result<std::string> GetXattr(NodeId node, const char* name) = 0;
  virtual Result<std::vector<std::string>> ListXattr(NodeId node) = 0;
  // `kill_setgid`: clear it, too; for an ACL set by somebody outside the file's group.
  virtual Result<> SetXattr(NodeId node, const char* name, std::string_view value, int flags,
                            bool kill_setgid) = 0;
  virtual Result<> RemoveXattr(NodeId node, const char* name) = 0;
  // FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IOC_FSGETXATTR or FS_IOC_FSSETXATTR of a file or
  // directory, with its argument; ENOTTY for others. The setting ones copy up.
  virtual Result<> InodeFlags(NodeId node, unsigned command, std::span<std::byte> argument) = 0;
  virtual Result<struct statvfs> StatVfs() = 0;

  // Copies all that upper files still borrow from lower layers, and gives every name of a link
  // group that was copied up its place in the upper layer, so that this is one that any overlay
  // reads, with any work directory. Not while the union is in use otherwise; errors name the file;
  // what was done before one stays done.
  virtual Result<FinalizeReport> Finalize() = 0;

  struct Counters {
    std::uint64_t nodes = 0;        // referenced now
    std::uint64_t directories = 0;  // merged and loaded now
    std::uint64_t copy_ups = 0;     // files and directories, since the start
    std::uint64_t copied_bytes = 0;
    std::uint64_t passthrough_opens = 0;
    std::uint64_t cached_opens = 0;
    std::uint64_t retired_nodes = 0;
  };
  virtual Counters Count() const = 0;
};

}  // namespace strata::fusefs
