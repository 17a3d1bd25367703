// Deletes what is in a store's trash, beside the work of the process.
#pragma once

#include <deque>
#include <functional>
#include <thread>

#include "base/error.h"
#include "base/mutex.h"

namespace strata::layerstore {

// One thread of low priority, started by the first name. Thread-safe. Several processes may empty
// one trash: what another has deleted is done.
class TrashEmptier {
 public:
  // Deletes something; called in the thread.
  using Work = std::function<Result<>()>;

  TrashEmptier() = default;
  // Ends after the work that is being done; the rest is left to the next start.
  ~TrashEmptier();
  TrashEmptier(const TrashEmptier&) = delete;
  TrashEmptier& operator=(const TrashEmptier&) = delete;

  // After what was added before. Failures are told to the log.
  void Add(Work work);
  // Until all that was added is done.
  void Wait();

 private:
  void Run();

  Mutex mu_;  // rank: leaf
  CondVar changed_;
  std::deque<Work> works_ STRATA_GUARDED_BY(mu_);  // the first is being done
  bool stop_ STRATA_GUARDED_BY(mu_) = false;
  std::thread thread_ STRATA_GUARDED_BY(mu_);
};

}  // namespace strata::layerstore
