// A switch that one thread turns and long operations of others look at.
#pragma once

#include <atomic>
#include <chrono>

#include "base/error.h"
#include "base/mutex.h"

namespace strata::manager {

// Starts off; Cancel() turns it on for good. Thread-safe. Must outlive the operations that were
// given a pointer to it.
class Cancellation {
 public:
  void Cancel() {
    canceled_.store(true, std::memory_order_release);
    const MutexLock lock(mu_);
    changed_.NotifyAll();
  }
  bool canceled() const { return canceled_.load(std::memory_order_acquire); }

  // Sleeps; true, and early, when canceled.
  bool WaitFor(std::chrono::milliseconds duration) {
    const MutexLock lock(mu_);
    return changed_.WaitFor(mu_, duration, [this] { return canceled(); });
  }

  // ECANCELED once canceled.
  Result<> Check() const {
    if (canceled()) return Fail(ECANCELED, "cancel");
    return {};
  }

 private:
  std::atomic<bool> canceled_ = false;
  Mutex mu_;  // leaf: nothing is locked under it
  CondVar changed_;
};

}  // namespace strata::manager
