// Puts the progress of parallel work into one stream that nobody drowns in.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

#include "base/mutex.h"
#include "manager/image/progress.h"

namespace strata::manager {

// Thread-safe. The sink runs under the reporter's lock.
class ProgressReporter {
 public:
  explicit ProgressReporter(const ProgressSink& sink) : sink_(sink) {}

  // A word about a layer, or with an empty id about the operation.
  void Say(const std::string& id, std::string status);
  // Bytes moved so far; reported at most every kInterval per id, but the last one always.
  void Move(const std::string& id, const char* status, std::uint64_t current, std::uint64_t total);
  void Send(const ProgressEvent& event);

 private:
  static constexpr std::chrono::milliseconds kInterval{100};

  const ProgressSink& sink_;
  Mutex mu_;  // taken for each event; the sink runs under it
  std::map<std::string, std::chrono::steady_clock::time_point> last_ STRATA_GUARDED_BY(mu_);
};

}  // namespace strata::manager
