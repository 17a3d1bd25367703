// File locks, and the two requests about closing that end them. DESIGN §5 says why they are kept
// here.
#include <fcntl.h>
#include <sys/file.h>

#include "fusefs/frontend/operations.h"

namespace strata::fusefs {
namespace {

// In the handles given to the kernel, above the engine's: whether close(2) goes by without a
// FLUSH, and a number no other open file has.
constexpr std::uint64_t kUnflushed = std::uint64_t{1} << kHandleBits;
constexpr unsigned kSerialShift = kHandleBits + 1;

FileLock RecordLock(const fuse_file_info& file, const struct flock& lock) {
  FileLock wanted{.kind = LockKind::kRecord,
                  .type = lock.l_type == F_UNLCK   ? LockType::kUnlock
                          : lock.l_type == F_RDLCK ? LockType::kShared
                                                   : LockType::kExclusive,
                  .owner = file.lock_owner,
                  .handle = file.fh,
                  .pid = lock.l_pid};
  wanted.first = static_cast<std::uint64_t>(lock.l_start);
  if (lock.l_len != 0) wanted.last = wanted.first + static_cast<std::uint64_t>(lock.l_len) - 1;
  return wanted;
}

// Whether the end of a lock is told in the background (RELEASE) and not while its holder waits
// (FLUSH).
bool EndsInBackground(const FileLock& lock) {
  return lock.kind == LockKind::kFlock || (lock.handle & kUnflushed) != 0;
}

}  // namespace

// A FLUSH costs its close(2) a request, and only record locks need it: they end with any close of
// their file. Files opened to be read alone are nearly all there are, and hardly ever carry one; if
// they do, it ends with the RELEASE. Descriptors opened while the file has locks are flushed.
bool Operations::WantsFlush(NodeId node, int flags) const {
  if (!keep_locks_ || (flags & O_ACCMODE) != O_RDONLY) return true;
  return !locks_.empty() && locks_.Has(engine_.LockKey(node));
}

std::uint64_t Operations::NewHandle(std::uint64_t engine_handle, bool flushed) {
  return engine_handle | (flushed ? 0 : kUnflushed) | ++opens_ << kSerialShift;
}

Result<> Operations::GetLock(Request& request, fuse_ino_t ino, fuse_file_info* file,
                             struct flock* lock) {
  const auto blocker = locks_.Test(engine_.LockKey(NodeId{ino}), RecordLock(*file, *lock));
  struct flock answer = *lock;
  answer.l_type = F_UNLCK;
  if (blocker) {
    answer.l_type = blocker->type == LockType::kShared ? F_RDLCK : F_WRLCK;
    answer.l_start = static_cast<off_t>(blocker->first);
    answer.l_len = blocker->last == FileLock::kToEnd
                       ? 0
                       : static_cast<off_t>(blocker->last - blocker->first + 1);
    answer.l_pid = blocker->pid;
  }
  request.Lock(answer);
  return {};
}

Result<> Operations::SetLock(Request& request, fuse_ino_t ino, fuse_file_info* file,
                             struct flock* lock, int wait) {
  const FileKey key = engine_.LockKey(NodeId{ino});
  const FileLock wanted = RecordLock(*file, *lock);
  if (wait != 0) {
    lock_requests_.Wait(request, key, wanted);
  } else {
    lock_requests_.Try(request, key, wanted, &EndsInBackground);
  }
  return {};
}

Result<> Operations::Flock(Request& request, fuse_ino_t ino, fuse_file_info* file, int operation) {
  FileLock wanted{.kind = LockKind::kFlock, .owner = file->lock_owner, .handle = file->fh};
  switch (operation & ~LOCK_NB) {
    case LOCK_SH:
      wanted.type = LockType::kShared;
      break;
    case LOCK_EX:
      wanted.type = LockType::kExclusive;
      break;
    case LOCK_UN:
      wanted.type = LockType::kUnlock;
      break;
    default:
      return Fail(EINVAL, "flock");
  }
  const FileKey key = engine_.LockKey(NodeId{ino});
  if ((operation & LOCK_NB) == 0) {
    lock_requests_.Wait(request, key, wanted);
  } else {
    lock_requests_.Try(request, key, wanted, &EndsInBackground);
  }
  return {};
}

Result<> Operations::Flush(Request& request, fuse_ino_t ino, fuse_file_info* file) {
  // Nothing is buffered here that close(2) could report about: the kernel need not ask, but for
  // locks.
  if (!keep_locks_) {
    request.NotImplemented();
    return {};
  }
  if (!locks_.empty()) locks_.OwnerClosed(engine_.LockKey(NodeId{ino}), file->lock_owner);
  request.Done();
  return {};
}

Result<> Operations::Release(Request& request, fuse_ino_t ino, fuse_file_info* file) {
  if (!locks_.empty()) locks_.HandleClosed(engine_.LockKey(NodeId{ino}), file->fh);
  engine_.Release(NodeId{ino}, file->fh);
  request.Done();
  return {};
}

}  // namespace strata::fusefs
