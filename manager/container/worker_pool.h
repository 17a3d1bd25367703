// A few threads for work nobody waits for: cleaning up after containers that ended.
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace strata::manager {

// Jobs run in the order posted, several at a time. Destruction runs what is queued, then joins.
class WorkerPool {
 public:
  explicit WorkerPool(unsigned threads);
  ~WorkerPool();

  void Post(std::function<void()> job);

 private:
  void Loop();

  Mutex mu_;  // leaf
  CondVar changed_;
  std::deque<std::function<void()>> jobs_ STRATA_GUARDED_BY(mu_);
  bool stopping_ STRATA_GUARDED_BY(mu_) = false;
  std::vector<std::jthread> threads_;
};

}  // namespace strata::manager
