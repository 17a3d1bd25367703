// Decides which of the serving threads reads the device: few while requests are short and come one
// by one, more while they pile up or take long.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/annotations.h"
#include "base/mutex.h"

namespace strata::fusefs {

// One thread leads: it alone waits at the device, and it serves what it reads without handing over,
// because waking another thread costs more than most requests. The others sleep here. Two things
// wake them:
//   - a leader that is busy with one request for longer than a tick is replaced by the thread that
//     watches it, so that a slow request delays others by about a tick at most;
//   - a leader that keeps finding requests already waiting calls helpers, which read until they
//   find
//     none.
// The device may be read by any number of threads at once; all this is about speed, not safety.
// Thread-safe. Its mutex is a leaf: nothing is called while it is held.
class ReaderGate {
 public:
  enum class Role : std::uint8_t { kLead, kHelp, kStop };

  // Sleeps until the calling thread has something to do.
  Role Enter();
  // The leader's bracket around serving one request. End() is false if the thread was replaced in
  // between: it must call Enter() again.
  std::uint64_t BeginRequest();
  bool EndRequest(std::uint64_t request);
  // The leader gives up its place.
  void Leave();
  // Wakes one sleeping thread, if any, to help.
  void CallHelper();
  // Enter() returns kStop from now on.
  void Stop();

 private:
  // What a sleeper waits for.
  bool WantedLocked() const STRATA_REQUIRES(mutex_);
  // One tick of watching the leader; true if it is stuck and this thread has taken its place.
  bool WatchLocked() STRATA_REQUIRES(mutex_);
  void Arm();

  Mutex mutex_;  // docs/locking.md: leaf
  CondVar changed_;
  bool led_ STRATA_GUARDED_BY(mutex_) = false;
  bool watched_ STRATA_GUARDED_BY(mutex_) = false;
  bool stopping_ STRATA_GUARDED_BY(mutex_) = false;
  int sleepers_ STRATA_GUARDED_BY(mutex_) = 0;
  int helpers_called_ STRATA_GUARDED_BY(mutex_) = 0;
  // Odd while the leader serves a request. It only grows: the leader moves it to odd and, unless
  // the watcher was first, back to even.
  std::atomic<std::uint64_t> progress_ = 0;
  // False when the leader has been idle for a tick: nobody watches, the next request must wake a
  // watcher.
  std::atomic<bool> armed_ = false;
};

}  // namespace strata::fusefs
