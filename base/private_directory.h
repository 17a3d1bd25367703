// A directory for what one process makes and nobody keeps.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace strata {

// A fresh directory of mode 0700 in $TMPDIR, or /tmp. It goes with this object, with all in it.
// Move-only.
class PrivateDirectory {
 public:
  // `prefix` begins its name.
  static Result<PrivateDirectory> Make(std::string_view prefix);
  PrivateDirectory(PrivateDirectory&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  PrivateDirectory& operator=(PrivateDirectory&& other) noexcept {
    std::swap(path_, other.path_);
    return *this;
  }
  ~PrivateDirectory();

  const std::string& path() const { return path_; }  // absolute

 private:
  explicit PrivateDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace strata
