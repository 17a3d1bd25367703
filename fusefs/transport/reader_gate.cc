#include "fusefs/transport/reader_gate.h"

#include <chrono>

namespace strata::fusefs {
namespace {

// Long enough that the watcher costs next to nothing, short beside what a user notices.
constexpr std::chrono::milliseconds kTick{4};

}  // namespace

bool ReaderGate::WantedLocked() const { return stopping_ || !led_ || helpers_called_ > 0; }

ReaderGate::Role ReaderGate::Enter() {
  MutexLock lock(mutex_);
  ++sleepers_;
  Role role = Role::kStop;
  for (;;) {
    if (stopping_) {
      role = Role::kStop;
      break;
    }
    if (!led_) {
      led_ = true;
      role = Role::kLead;
      break;
    }
    if (helpers_called_ > 0) {
      --helpers_called_;
      role = Role::kHelp;
      break;
    }
    if (!watched_ && armed_.load(std::memory_order_relaxed)) {
      if (WatchLocked()) {
        role = Role::kLead;
        break;
      }
    } else {
      changed_.Wait(mutex_, [this]() STRATA_REQUIRES(mutex_) {
        return WantedLocked() || (!watched_ && armed_.load(std::memory_order_relaxed));
      });
    }
  }
  --sleepers_;
  // Whoever leaves may have been the one that watched.
  if (sleepers_ > 0 && !watched_ && armed_.load(std::memory_order_relaxed)) changed_.NotifyOne();
  return role;
}

bool ReaderGate::WatchLocked() {
  std::uint64_t before = progress_.load(std::memory_order_acquire);
  watched_ = true;
  const bool wanted =
      changed_.WaitFor(mutex_, kTick, [this]() STRATA_REQUIRES(mutex_) { return WantedLocked(); });
  watched_ = false;
  if (wanted || progress_.load(std::memory_order_acquire) != before) return false;
  if (before % 2 == 0) {
    armed_.store(false, std::memory_order_seq_cst);
    // The leader may have begun between the look at progress_ and this.
    if (progress_.load(std::memory_order_seq_cst) != before) armed_.store(true);
    return false;
  }
  return progress_.compare_exchange_strong(before, before + 1);
}

std::uint64_t ReaderGate::BeginRequest() {
  const std::uint64_t request = progress_.load(std::memory_order_relaxed) + 1;
  progress_.store(request, std::memory_order_seq_cst);
  if (!armed_.load(std::memory_order_seq_cst)) Arm();
  return request;
}

void ReaderGate::Arm() {
  {
    MutexLock lock(mutex_);
    armed_.store(true, std::memory_order_relaxed);
  }
  changed_.NotifyOne();
}

bool ReaderGate::EndRequest(std::uint64_t request) {
  return progress_.compare_exchange_strong(request, request + 1);
}

void ReaderGate::Leave() {
  MutexLock lock(mutex_);
  led_ = false;
  changed_.NotifyOne();
}

void ReaderGate::CallHelper() {
  {
    MutexLock lock(mutex_);
    if (helpers_called_ >= sleepers_) return;
    ++helpers_called_;
  }
  changed_.NotifyOne();
}

void ReaderGate::Stop() {
  MutexLock lock(mutex_);
  stopping_ = true;
  changed_.NotifyAll();
}

}  // namespace strata::fusefs
