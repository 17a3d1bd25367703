#include "manager/container/worker_pool.h"

namespace strata::manager {

WorkerPool::WorkerPool(unsigned threads) {
  for (unsigned i = 0; i < threads; ++i) threads_.emplace_back([this] { Loop(); });
}

WorkerPool::~WorkerPool() {
  {
    const MutexLock lock(mu_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  threads_.clear();  // joins
}

void WorkerPool::Post(std::function<void()> job) {
  {
    const MutexLock lock(mu_);
    jobs_.push_back(std::move(job));
  }
  changed_.NotifyOne();
}

void WorkerPool::Loop() {
  for (;;) {
    std::function<void()> job;
    {
      const MutexLock lock(mu_);
      changed_.Wait(mu_, [this]() STRATA_REQUIRES(mu_) { return stopping_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job();
  }
}

}  // namespace strata::manager
