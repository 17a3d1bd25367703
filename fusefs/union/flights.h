// One copy-up per file at a time; others wait for that file alone.
#pragma once

#include <unordered_set>

#include "base/mutex.h"
#include "fusefs/union/node_table.h"

namespace strata::fusefs {

// Thread-safe.
class Flights {
 public:
  // Waits until no other thread holds `node`, then holds it until destroyed.
  class Hold {
   public:
    Hold(Flights& flights, NodeIndex node) : flights_(flights), node_(node) {
      MutexLock lock(flights_.mu_);
      flights_.landed_.Wait(flights_.mu_, [&]() STRATA_NO_THREAD_SAFETY_ANALYSIS {
        return flights_.busy_.insert(node_).second;
      });
    }
    ~Hold() {
      MutexLock lock(flights_.mu_);
      flights_.busy_.erase(node_);
      flights_.landed_.NotifyAll();
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    Flights& flights_;
    NodeIndex node_;
  };

 private:
  Mutex mu_;  // rank 20 while waiting; a held flight is above the directory locks
  CondVar landed_;
  std::unordered_set<NodeIndex> busy_ STRATA_GUARDED_BY(mu_);
};

}  // namespace strata::fusefs
