// Calls functions at a later time. Internal to this folder.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <thread>

#include "base/annotations.h"
#include "base/mutex.h"

namespace strata::manager {

// Thread-safe. One thread calls them, in the order of their times: they should be short. What is
// not due yet at Stop() is never called.
class TimerQueue {
 public:
  TimerQueue();
  ~TimerQueue() { Stop(); }
  TimerQueue(const TimerQueue&) = delete;
  TimerQueue& operator=(const TimerQueue&) = delete;

  void Post(std::chrono::nanoseconds delay, std::function<void()> call);
  // Waits for a call that is under way; later Post()s do nothing.
  void Stop();

 private:
  using Clock = std::chrono::steady_clock;
  void Loop();

  Mutex mu_;  // rank: manager/container/timers, a leaf
  CondVar changed_;
  bool stopped_ STRATA_GUARDED_BY(mu_) = false;
  std::multimap<Clock::time_point, std::function<void()>> calls_ STRATA_GUARDED_BY(mu_);
  std::jthread thread_;
};

}  // namespace strata::manager
