#include "tests/property/watchdog.h"

#include <signal.h>

namespace strata::property {

Watchdog::Watchdog(std::chrono::seconds limit)
    : limit_(limit), thread_([this](const std::stop_token& stop) { Run(stop); }) {}

void Watchdog::Watch(pid_t daemon) {
  bit_.store(false);
  Progress();
  daemon_.store(daemon);
}

void Watchdog::Run(const std::stop_token& stop) {
  using Clock = std::chrono::steady_clock;
  std::uint64_t last_beat = 0;
  Clock::time_point since = Clock::now();
  while (!stop.stop_requested()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    const pid_t daemon = daemon_.load();
    const std::uint64_t beat = beats_.load(std::memory_order_relaxed);
    if (daemon <= 0 || beat != last_beat) {
      last_beat = beat;
      since = Clock::now();
    } else if (Clock::now() - since > limit_) {
      bit_.store(true);
      daemon_.store(0);
      ::kill(daemon, SIGKILL);
    }
  }
}

}  // namespace strata::property
