// Owner of one file descriptor.
#pragma once

#include <unistd.h>

#include <memory>
#include <utility>

namespace strata {

// Move-only; closes on destruction. A plain `int fd` in the code base is always borrowed.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) noexcept : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~UniqueFd() { reset(); }

  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  int release() noexcept { return std::exchange(fd_, -1); }
  void reset(int fd = -1) noexcept {
    // Linux frees the number even when close(2) fails, so it is never retried. Callers that must
    // know about write-back errors call fsync(2) first.
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

// A descriptor that several hold; closed by the last.
using SharedFd = std::shared_ptr<const UniqueFd>;

}  // namespace strata
