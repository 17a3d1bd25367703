// A directory for what one process makes and nobody keeps.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/file_lock.h"

namespace strata {

// A fresh directory of mode 0700 in $TMPDIR, or /tmp. It goes with this object, with all in it; if
// the process dies, with the next Make() of the same user and prefix: flock(2) on a directory tells
// that somebody still has it. Move-only.
class PrivateDirectory {
 public:
  // `prefix` begins its name.
  static Result<PrivateDirectory> Make(std::string_view prefix);
  PrivateDirectory(PrivateDirectory&& other) noexcept
      : path_(std::exchange(other.path_, {})), lock_(std::move(other.lock_)) {}
  PrivateDirectory& operator=(PrivateDirectory&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(lock_, other.lock_);
    return *this;
  }
  ~PrivateDirectory();

  const std::string& path() const { return path_; }  // absolute

 private:
  PrivateDirectory(std::string path, FileLock lock)
      : path_(std::move(path)), lock_(std::move(lock)) {}

  std::string path_;
  FileLock lock_;  // of the directory, for as long as it is there
};

}  // namespace strata
