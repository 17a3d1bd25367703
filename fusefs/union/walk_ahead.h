// Loads directories before a walk asks for them.
#pragma once

#include <deque>
#include <functional>
#include <span>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "fusefs/union/node_table.h"

namespace strata::fusefs {

// A cold directory costs one disk access after the other, one or more for each layer it is in. A
// walk (find, du, a scanner) asks for them one by one; loading several at once overlaps them. Its
// threads start with the first request. Thread-safe.
class WalkAhead {
 public:
  // `load` is called by the threads, several at once.
  WalkAhead(unsigned threads, std::function<void(WeakNode)> load)
      : wanted_threads_(threads), load_(std::move(load)) {}
  // What is being loaded is finished, the rest dropped.
  ~WalkAhead();
  WalkAhead(const WalkAhead&) = delete;
  WalkAhead& operator=(const WalkAhead&) = delete;

  // More than a few hundred that wait are dropped, oldest first: the walk has gone elsewhere.
  void Add(std::span<const WeakNode> directories);

 private:
  void Run();

  const unsigned wanted_threads_;
  const std::function<void(WeakNode)> load_;
  Mutex mu_;  // docs/locking.md: leaf
  CondVar changed_;
  std::deque<WeakNode> queue_ STRATA_GUARDED_BY(mu_);
  bool stopping_ STRATA_GUARDED_BY(mu_) = false;
  std::vector<std::jthread> threads_ STRATA_GUARDED_BY(mu_);
};

}  // namespace strata::fusefs
