#include "fusefs/union/completion.h"

#include <algorithm>
#include <chrono>

#include "base/affinity.h"

namespace strata::fusefs {
namespace {

constexpr std::chrono::milliseconds kTick{100};
constexpr std::uint64_t kTicksPerSecond = 10;
constexpr std::uint64_t kLeastStep = 4096;

}  // namespace

void Completion::Stop() {
  std::jthread joined;  // without the lock
  MutexLock lock(mu_);
  stopping_ = true;
  changed_.NotifyAll();
  joined.swap(thread_);
}

bool Completion::Add(WeakNode file) {
  if (rate_ == 0) return false;
  MutexLock lock(mu_);
  if (stopping_ || std::ranges::find(queue_, file) != queue_.end()) return false;
  queue_.push_back(file);
  if (!thread_.joinable()) thread_ = std::jthread([this] { Run(); });
  changed_.NotifyAll();
  return true;
}

void Completion::Run() {
  UnpinThread();
  MutexLock lock(mu_);
  for (;;) {
    changed_.Wait(mu_, [this]() STRATA_REQUIRES(mu_) { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    const WeakNode file = queue_.front();
    mu_.unlock();
    const bool more = step_(file, std::max(kLeastStep, rate_ / kTicksPerSecond));
    mu_.lock();
    if (!more) queue_.pop_front();
    changed_.WaitFor(mu_, kTick, [this]() STRATA_REQUIRES(mu_) { return stopping_; });
  }
}

}  // namespace strata::fusefs
