// A wake-up that poll(2) can wait for.
#pragma once

#include "base/error.h"
#include "base/unique_fd.h"

namespace strata::manager {

// Wraps an eventfd. Signal() may be called from any thread; fd() stays readable until Clear().
class Notifier {
 public:
  static Result<Notifier> Create();

  int fd() const { return fd_.get(); }
  void Signal() const noexcept;
  void Clear() const noexcept;

 private:
  explicit Notifier(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace strata::manager
