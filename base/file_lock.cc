#include "base/file_lock.h"

#include <sys/file.h>

namespace strata {
namespace {

Result<> Lock(int fd, int operation) {
  while (::flock(fd, operation) == -1) {
    if (errno != EINTR) return FailErrno("flock");
  }
  return {};
}

}  // namespace

Result<FileLock> FileLock::Acquire(UniqueFd file) {
  if (auto locked = Lock(file.get(), LOCK_EX); !locked)
    return std::unexpected(std::move(locked).error());
  return FileLock(std::move(file));
}

Result<FileLock> FileLock::TryAcquire(UniqueFd file) {
  if (auto locked = Lock(file.get(), LOCK_EX | LOCK_NB); !locked) {
    return std::unexpected(std::move(locked).error());
  }
  return FileLock(std::move(file));
}

}  // namespace strata
