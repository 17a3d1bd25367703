// Advisory locks between processes, and between threads: flock(2) on an open file or directory.
#pragma once

#include <utility>

#include "base/error.h"
#include "base/unique_fd.h"

namespace strata {

// Holds an exclusive lock for its lifetime; the kernel drops it when the process dies. Two locks of
// one process on one file exclude each other, as each has its own open file. Move-only.
class FileLock {
 public:
  // Waits for the lock.
  static Result<FileLock> Acquire(UniqueFd file);
  // EWOULDBLOCK if somebody else has it.
  static Result<FileLock> TryAcquire(UniqueFd file);

  int fd() const { return file_.get(); }  // borrowed

 private:
  explicit FileLock(UniqueFd file) : file_(std::move(file)) {}
  UniqueFd file_;
};

}  // namespace strata
