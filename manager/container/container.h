// One container in memory. Internal to this folder.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/annotations.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "manager/container/types.h"
#include "manager/container/waits.h"

namespace strata::manager {

struct Container {
  explicit Container(ContainerRecord initial) : id(initial.id), record(std::move(initial)) {}

  const std::string id;

  // Serialises what changes the container: start, stop, pause, remove, ... Held across runtime
  // calls and mounts. Rank: manager/container/operation, before `mu`.
  Mutex operation;
  // Tells the analysis what the caller promises in functions that end in Locked: the service's
  // header cannot name the mutex.
  void OperationIsHeld() const STRATA_THREAD_ATTR(assert_capability(operation)) {}
  // A run has ended and its bundle and mount are not cleaned up yet.
  bool needs_cleanup STRATA_GUARDED_BY(operation) = false;
  bool removed STRATA_GUARDED_BY(operation) = false;
  // The ticket of the restart that is to come, 0: none.
  std::uint64_t restart_due STRATA_GUARDED_BY(operation) = 0;
  std::uint64_t restart_tickets STRATA_GUARDED_BY(operation) = 0;           // given out so far
  std::chrono::milliseconds restart_delay STRATA_GUARDED_BY(operation){0};  // of the last one

  // Guards what follows; held for moments only. Rank: manager/container/state.
  Mutex mu;
  CondVar changed;  // record.state.status
  ContainerRecord record STRATA_GUARDED_BY(mu);
  UniqueFd init_pidfd STRATA_GUARDED_BY(mu);
  // Who waits owns the object; a client that went away leaves an expired pointer.
  std::vector<std::pair<WaitCondition, std::weak_ptr<ExitWait>>> waits STRATA_GUARDED_BY(mu);
  std::vector<std::weak_ptr<AttachWait>> attaches STRATA_GUARDED_BY(mu);  // until the next start

  ContainerRecord Snapshot() {
    const MutexLock lock(mu);
    return record;
  }
};

}  // namespace strata::manager
