// A switch that one thread turns and long operations of others look at.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>

#include "base/error.h"
#include "base/mutex.h"

namespace strata {

// Starts off; Cancel() turns it on for good. One with a parent is on, too, when the parent is.
// Thread-safe. Must outlive the operations that were given a pointer to it, and a parent its
// children.
class Cancellation {
 public:
  Cancellation() = default;
  // `parent` may be null.
  explicit Cancellation(const Cancellation* parent) : parent_(parent) {}

  void Cancel() {
    canceled_.store(true, std::memory_order_release);
    const MutexLock lock(mu_);
    changed_.NotifyAll();
  }
  bool canceled() const {
    return canceled_.load(std::memory_order_acquire) || (parent_ != nullptr && parent_->canceled());
  }

  // Sleeps; true, and early, when canceled.
  bool WaitFor(std::chrono::milliseconds duration) {
    const auto end = std::chrono::steady_clock::now() + duration;
    const MutexLock lock(mu_);
    for (;;) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          end - std::chrono::steady_clock::now());
      if (canceled() || left.count() <= 0) return canceled();
      // Nobody tells a child that its parent was turned.
      const auto slice = parent_ == nullptr ? left : std::min(left, kParentPoll);
      changed_.WaitFor(mu_, slice, [this] { return canceled(); });
    }
  }

  // ECANCELED once canceled.
  Result<> Check() const {
    if (canceled()) return Fail(ECANCELED, "cancel");
    return {};
  }

 private:
  static constexpr std::chrono::milliseconds kParentPoll{100};

  const Cancellation* const parent_ = nullptr;
  std::atomic<bool> canceled_ = false;
  Mutex mu_;  // leaf: nothing is locked under it
  CondVar changed_;
};

}  // namespace strata
