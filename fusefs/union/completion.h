// Copies the rest of half-copied files in the background.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <thread>

#include "base/mutex.h"
#include "fusefs/union/node_table.h"

namespace strata::fusefs {

// One thread, started with the first file, that copies one file after the other, a step at a time,
// never faster than the rate. Thread-safe.
class Completion {
 public:
  // Copies up to so many bytes of the file; false when nothing is left to do there.
  using Step = std::function<bool(WeakNode file, std::uint64_t bytes)>;

  // `rate`: bytes a second; 0: nothing is ever copied.
  Completion(std::uint64_t rate, Step step) : rate_(rate), step_(std::move(step)) {}
  ~Completion() { Stop(); }
  Completion(const Completion&) = delete;
  Completion& operator=(const Completion&) = delete;

  // Ends after the step under way; nothing is copied any more.
  void Stop();
  // False if the file waits already, or none are copied any more.
  bool Add(WeakNode file);

 private:
  void Run();

  const std::uint64_t rate_;
  const Step step_;
  Mutex mu_;  // docs/locking.md: leaf
  CondVar changed_;
  std::deque<WeakNode> queue_ STRATA_GUARDED_BY(mu_);
  bool stopping_ STRATA_GUARDED_BY(mu_) = false;
  std::jthread thread_ STRATA_GUARDED_BY(mu_);
};

}  // namespace strata::fusefs
