// Deletes what is in a store's trash, beside the work of the process.
#pragma once

#include <deque>
#include <string>
#include <thread>

#include "base/file_ops.h"
#include "base/mutex.h"

namespace strata::layerstore {

// One thread of low priority, started by the first name. Thread-safe. Several processes may empty
// one trash: what another has deleted is done.
class TrashEmptier {
 public:
  // Borrows `trash`, an open directory.
  TrashEmptier(FileOps& ops, int trash) : ops_(ops), trash_(trash) {}
  // Ends after the tree that is being deleted; the rest is left to the next start.
  ~TrashEmptier();
  TrashEmptier(const TrashEmptier&) = delete;
  TrashEmptier& operator=(const TrashEmptier&) = delete;

  // What can not be deleted is told to the log.
  void Add(std::string name);
  // Until all that was added is deleted.
  void Wait();

 private:
  void Run();

  FileOps& ops_;
  const int trash_;
  Mutex mu_;  // rank: leaf
  CondVar changed_;
  std::deque<std::string> names_ STRATA_GUARDED_BY(mu_);  // the first is being deleted
  bool stop_ STRATA_GUARDED_BY(mu_) = false;
  std::thread thread_ STRATA_GUARDED_BY(mu_);
};

}  // namespace strata::layerstore
