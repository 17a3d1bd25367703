#include "manager/container/timer_queue.h"

#include <utility>

namespace strata::manager {

TimerQueue::TimerQueue() : thread_([this] { Loop(); }) {}

void TimerQueue::Post(std::chrono::nanoseconds delay, std::function<void()> call) {
  const MutexLock lock(mu_);
  if (stopped_) return;
  calls_.emplace(Clock::now() + delay, std::move(call));
  changed_.NotifyAll();
}

void TimerQueue::Stop() {
  {
    const MutexLock lock(mu_);
    stopped_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void TimerQueue::Loop() {
  for (;;) {
    std::function<void()> call;
    {
      const MutexLock lock(mu_);
      changed_.Wait(mu_, [this]() STRATA_REQUIRES(mu_) { return stopped_ || !calls_.empty(); });
      if (stopped_) return;
      const Clock::time_point due = calls_.begin()->first;
      const Clock::time_point now = Clock::now();
      if (due > now) {
        // Something earlier may come.
        changed_.WaitFor(mu_, due - now, [this, due]() STRATA_REQUIRES(mu_) {
          return stopped_ || calls_.begin()->first < due;
        });
        continue;
      }
      call = std::move(calls_.begin()->second);
      calls_.erase(calls_.begin());
    }
    call();
  }
}

}  // namespace strata::manager
