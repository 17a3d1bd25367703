#include "manager/image/progress_reporter.h"

#include <utility>

namespace strata::manager {

void ProgressReporter::Send(const ProgressEvent& event) {
  if (!sink_) return;
  const MutexLock lock(mu_);
  sink_(event);
}

void ProgressReporter::Say(const std::string& id, std::string status) {
  Send({.id = id, .status = std::move(status)});
}

void ProgressReporter::Move(const std::string& id, const char* status, std::uint64_t current,
                            std::uint64_t total) {
  if (!sink_) return;
  const auto now = std::chrono::steady_clock::now();
  const MutexLock lock(mu_);
  auto& last = last_[id];
  if (current != total && now - last < kInterval) return;
  last = now;
  sink_({.id = id, .status = status, .detail = ProgressEvent::Detail{current, total}});
}

}  // namespace strata::manager
