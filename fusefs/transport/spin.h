// Decides how long to poll for the next request before going to sleep.
#pragma once

#include <chrono>

namespace strata::fusefs {

// Waking a sleeping thread costs more than most requests, so polling a little pays while requests
// come one after the other, and is waste while they don't. Polls for at most the budget, and only
// as long as recent requests mostly came within it. Not thread-safe: one per waiting thread.
class AdaptiveSpin {
 public:
  using Duration = std::chrono::nanoseconds;

  // A budget of zero never polls.
  explicit AdaptiveSpin(Duration budget) : budget_(budget) {}

  // How long to poll this time.
  Duration Budget() const { return credit_ > 0 ? budget_ : Duration::zero(); }
  // A request came `waited` after the last one was served, polled for or slept for.
  void Arrived(Duration waited);
  // Something else ran on our processor while we polled. Once is any timer; twice within a few
  // dozen requests is somebody who wants the processor, and gets it for the next ones.
  void Interrupted();

 private:
  Duration budget_;
  int credit_ = 0;
  int interrupted_ = 0;  // requests until the last interruption is forgotten
};

}  // namespace strata::fusefs
