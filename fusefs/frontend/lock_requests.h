// Lock requests that cannot be answered at once: they wait here, not in a serving thread.
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <thread>

#include "base/mutex.h"
#include "fusefs/frontend/request.h"
#include "fusefs/union/file_locks.h"

namespace strata::fusefs {

// Takes locks for requests and answers them: at once, when the lock is free, or with EINTR when the
// kernel interrupts them. Thread-safe.
class LockRequests {
 public:
  explicit LockRequests(FileLocks& locks) : locks_(locks) {}

  // Answers when the lock is taken, or with EDEADLK.
  void Wait(Request& request, FileKey file, const FileLock& lock);
  // Answers at once, with EAGAIN if somebody else holds the lock - or, if that may have been given
  // back without our knowing yet (`may_be_late`), shortly after.
  void Try(Request& request, FileKey file, const FileLock& lock,
           bool (*may_be_late)(const FileLock& blocker));
  // Forgets who waits. No request may come in any more.
  void End();

 private:
  class Waiting;

  void Start(Request& request, FileKey file, const FileLock& lock, bool patient);
  void AnswerLate();

  FileLocks& locks_;
  Mutex mu_;  // docs/locking.md: leaf
  CondVar changed_;
  bool ended_ STRATA_GUARDED_BY(mu_) = false;
  struct Late {
    std::chrono::steady_clock::time_point due;
    std::shared_ptr<Waiting> waiting;
  };
  std::deque<Late> late_ STRATA_GUARDED_BY(mu_);      // by time
  std::jthread answers_late_ STRATA_GUARDED_BY(mu_);  // started by the first that has to wait
};

}  // namespace strata::fusefs
