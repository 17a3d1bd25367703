// The FUSE operations: each turns one request into one call of the engine and its result into the
// reply. An error returned is replied by the caller (operations_table.cc), the one place where an
// errno becomes a reply; anything else is replied by the operation itself.
#pragma once

#include <fuse3/fuse_lowlevel.h>

#include <atomic>
#include <span>

#include "base/error.h"
#include "fusefs/frontend/lock_requests.h"
#include "fusefs/frontend/request.h"
#include "fusefs/union/engine.h"

namespace strata::fusefs {

// Names are libfuse's (fuse_lowlevel.h tells the arguments). Thread-safe as the engine is.
class Operations {
 public:
  explicit Operations(Engine& engine) : engine_(engine) {}

  // Whether to answer OPEN by "not implemented", so that it is the last one; the kernel must know
  // that answer. Set before the first request after INIT.
  void set_skip_open(bool skip) { skip_open_ = skip; }
  // The same for LSEEK: what the kernel has not written yet would be taken for holes.
  void set_skip_seek(bool skip) { skip_seek_ = skip; }
  // The same for OPENDIR.
  void set_skip_opendir(bool skip) { skip_opendir_ = skip; }
  // Whether the kernel asks us for locks, instead of keeping them itself. Set likewise.
  void set_keep_locks(bool keep) { keep_locks_ = keep; }
  // Forgets all requests that wait for a lock. None may come in any more.
  void EndWaits() { lock_requests_.End(); }

  Result<> Lookup(Request& request, fuse_ino_t parent, const char* name);
  Result<> Forget(Request& request, fuse_ino_t ino, std::uint64_t count);
  Result<> ForgetMulti(Request& request, std::size_t count, fuse_forget_data* forgets);
  Result<> GetAttr(Request& request, fuse_ino_t ino, fuse_file_info* file);
  Result<> SetAttr(Request& request, fuse_ino_t ino, struct stat* attr, int valid,
                   fuse_file_info* file);
  Result<> ReadLink(Request& request, fuse_ino_t ino);
  Result<> MakeNode(Request& request, fuse_ino_t parent, const char* name, mode_t mode, dev_t dev);
  Result<> MakeDir(Request& request, fuse_ino_t parent, const char* name, mode_t mode);
  Result<> Unlink(Request& request, fuse_ino_t parent, const char* name);
  Result<> RemoveDir(Request& request, fuse_ino_t parent, const char* name);
  Result<> SymLink(Request& request, const char* target, fuse_ino_t parent, const char* name);
  Result<> Rename(Request& request, fuse_ino_t parent, const char* name, fuse_ino_t to_parent,
                  const char* to_name, unsigned flags);
  Result<> Link(Request& request, fuse_ino_t ino, fuse_ino_t parent, const char* name);

  Result<> Open(Request& request, fuse_ino_t ino, fuse_file_info* file);
  Result<> Create(Request& request, fuse_ino_t parent, const char* name, mode_t mode,
                  fuse_file_info* file);
  Result<> Read(Request& request, fuse_ino_t ino, std::size_t size, off_t offset,
                fuse_file_info* file);
  Result<> Write(Request& request, fuse_ino_t ino, const char* data, std::size_t size, off_t offset,
                 fuse_file_info* file);
  Result<> Flush(Request& request, fuse_ino_t ino, fuse_file_info* file);
  Result<> Release(Request& request, fuse_ino_t ino, fuse_file_info* file);
  Result<> Sync(Request& request, fuse_ino_t ino, int data_only, fuse_file_info* file);
  Result<> Allocate(Request& request, fuse_ino_t ino, int mode, off_t offset, off_t length,
                    fuse_file_info* file);
  Result<> CopyRange(Request& request, fuse_ino_t in, off_t in_offset, fuse_file_info* in_file,
                     fuse_ino_t out, off_t out_offset, fuse_file_info* out_file, std::size_t length,
                     int flags);
  Result<> Seek(Request& request, fuse_ino_t ino, off_t offset, int whence, fuse_file_info* file);
  Result<> IoControl(Request& request, fuse_ino_t ino, unsigned command, void* argument,
                     fuse_file_info* file, unsigned flags, const void* in, std::size_t in_size,
                     std::size_t out_size);

  Result<> GetLock(Request& request, fuse_ino_t ino, fuse_file_info* file, struct flock* lock);
  Result<> SetLock(Request& request, fuse_ino_t ino, fuse_file_info* file, struct flock* lock,
                   int wait);
  Result<> Flock(Request& request, fuse_ino_t ino, fuse_file_info* file, int operation);

  Result<> OpenDir(Request& request, fuse_ino_t ino, fuse_file_info* file);
  Result<> ReadDir(Request& request, fuse_ino_t ino, std::size_t size, off_t offset,
                   fuse_file_info* file);
  Result<> ReadDirPlus(Request& request, fuse_ino_t ino, std::size_t size, off_t offset,
                       fuse_file_info* file);
  Result<> SyncDir(Request& request, fuse_ino_t ino, int data_only, fuse_file_info* file);

  Result<> StatFs(Request& request, fuse_ino_t ino);
  Result<> SetXattr(Request& request, fuse_ino_t ino, const char* name, const char* value,
                    std::size_t size, int flags);
  Result<> GetXattr(Request& request, fuse_ino_t ino, const char* name, std::size_t size);
  Result<> ListXattr(Request& request, fuse_ino_t ino, std::size_t size);
  Result<> RemoveXattr(Request& request, fuse_ino_t ino, const char* name);
  Result<> Access(Request& request, fuse_ino_t ino, int mask);

 private:
  // Hands a node to the kernel, or takes the lookup back if the kernel is no longer interested.
  Result<> GiveEntry(Request& request, const Result<EntryReply>& entry);
  Result<> List(Request& request, fuse_ino_t ino, std::size_t size, off_t offset, bool attributes);
  Result<> KillPrivileges(NodeId node, const Caller& who);

  // operations_lock.cc: whether each close(2) of a new open file must be told to us, and the number
  // the kernel shall know it by.
  bool WantsFlush(NodeId node, int flags) const;
  std::uint64_t NewHandle(std::uint64_t engine_handle, bool flushed);

  Engine& engine_;
  bool skip_open_ = false;
  bool skip_seek_ = false;
  bool skip_opendir_ = false;
  bool keep_locks_ = false;
  std::atomic<std::uint64_t> opens_ = 0;
  FileLocks locks_;
  LockRequests lock_requests_{locks_};
};

// libfuse's table of them, all but INIT. The session's user data must point to an Operations.
fuse_lowlevel_ops OperationsTable();

}  // namespace strata::fusefs
