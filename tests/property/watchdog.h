// Ends a hang: a union that does not answer for too long loses its daemon, so that the test fails
// with the operation it hung in, and not by ctest's time limit.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

namespace strata::property {

// Thread-safe. Kills only the process it was told of.
class Watchdog {
 public:
  explicit Watchdog(std::chrono::seconds limit);

  // Watches from now on; a pid <= 0 cannot be killed and is only waited for.
  void Watch(pid_t daemon);
  void Progress() { beats_.fetch_add(1, std::memory_order_relaxed); }
  void Stop() { daemon_.store(0); }
  // Whether it had to act since the last Watch().
  bool bit() const { return bit_.load(); }

 private:
  void Run(const std::stop_token& stop);

  const std::chrono::seconds limit_;
  std::atomic<std::uint64_t> beats_ = 0;
  std::atomic<pid_t> daemon_ = 0;
  std::atomic<bool> bit_ = false;
  std::jthread thread_;
};

}  // namespace strata::property
