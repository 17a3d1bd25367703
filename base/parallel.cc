#include "base/parallel.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace strata {
namespace {

// What the threads of one call share.
class Work {
 public:
  Work(std::size_t count, Cancellation& stop, const std::function<Result<>(std::size_t)>& work)
      : count_(count), stop_(stop), work_(work) {}

  void Run() {
    while (!stop_.canceled()) {
      const std::size_t index = next_.fetch_add(1);
      if (index >= count_) return;
      Result<> done = work_(index);
      if (!done) return Fail(std::move(done).error());
    }
  }

  void Fail(Error error) {
    {
      const MutexLock lock(mu_);
      if (!failure_) failure_.emplace(std::move(error));
    }
    stop_.Cancel();
  }

  // After all threads have ended.
  Result<> Outcome() {
    const MutexLock lock(mu_);
    if (failure_) return std::unexpected(std::move(*failure_));
    return stop_.Check();
  }

 private:
  const std::size_t count_;
  Cancellation& stop_;
  const std::function<Result<>(std::size_t)>& work_;
  std::atomic<std::size_t> next_ = 0;
  Mutex mu_;  // leaf: nothing is locked under it
  std::optional<Error> failure_ STRATA_GUARDED_BY(mu_);
};

}  // namespace

Result<> ForEachInParallel(std::size_t count, std::size_t threads, Cancellation& stop,
                           const std::function<Result<>(std::size_t)>& work) {
  Work shared(count, stop, work);
  {
    std::vector<std::jthread> running;
    try {
      while (running.size() < std::min(count, threads)) {
        running.emplace_back([&shared] { shared.Run(); });
      }
    } catch (const std::system_error& error) {
      // With at least one thread the work gets done, only slower.
      if (running.empty()) shared.Fail(Error(error.code().value(), "start thread"));
    }
  }
  return shared.Outcome();
}

}  // namespace strata
