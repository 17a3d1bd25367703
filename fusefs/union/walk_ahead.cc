#include "fusefs/union/walk_ahead.h"

#include <utility>

#include "base/affinity.h"

namespace strata::fusefs {
namespace {

constexpr std::size_t kMaxWaiting = 256;

}  // namespace

WalkAhead::~WalkAhead() {
  std::vector<std::jthread> joined;  // without the lock
  MutexLock lock(mu_);
  stopping_ = true;
  changed_.NotifyAll();
  joined.swap(threads_);
}

void WalkAhead::Add(std::span<const WeakNode> directories) {
  if (directories.empty() || wanted_threads_ == 0) return;
  MutexLock lock(mu_);
  if (stopping_) return;
  queue_.insert(queue_.end(), directories.begin(), directories.end());
  while (queue_.size() > kMaxWaiting) queue_.pop_front();
  while (threads_.size() < wanted_threads_) threads_.emplace_back([this] { Run(); });
  changed_.NotifyAll();
}

void WalkAhead::Run() {
  UnpinThread();
  MutexLock lock(mu_);
  for (;;) {
    changed_.Wait(mu_, [this]() STRATA_REQUIRES(mu_) { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    const WeakNode next = queue_.front();
    queue_.pop_front();
    mu_.unlock();
    load_(next);
    mu_.lock();
  }
}

}  // namespace strata::fusefs
