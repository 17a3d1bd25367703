// A process that does with descriptors and locks what a test tells it to: locks are between
// processes.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "base/unique_fd.h"
#include "tests/support/process.h"

namespace strata::support {

class LockPeer {
 public:
  // What it can be told; descriptors have numbers of the test's choice, 0 to 9.
  enum class Act : int {
    kOpen,         // `path` with flags `type` as `slot`
    kDup,          // `slot` as `to`
    kClose,        // `slot`
    kWrite,        // one byte at offset `first`
    kSet,          // F_SETLK of a `type` on `slot`, `first`, `length`
    kSetWait,      // F_SETLKW
    kGet,          // F_GETLK: the answer is the text
    kOpenFileSet,  // F_OFD_SETLK
    kOpenFileSetWait,
    kOpenFileGet,
    kFlock,      // operation `type`
    kAlarm,      // a signal in `first` milliseconds, whose handler does nothing
    kForkClose,  // a child closes `slot` and ends
    kForkGet,    // a child's F_GETLK: the answer is the text
    kForkKeep,   // a child keeps all descriptors until kForkEnd
    kForkEnd,
    kExit,
  };
  struct Order {
    Act act = Act::kExit;
    int slot = 0;
    int type = 0;
    long first = 0;
    long length = 0;
    int to = 0;
    char path[512] = {};
  };

  static Result<LockPeer> Start();

  pid_t pid() const { return process_.pid(); }
  ChildProcess& process() { return process_; }

  // Tells it and waits for the answer: "ok", an errno's name, or what a kGet found, as
  // "r|w FIRST LENGTH PID", "no answer" after a long time..
  std::string Do(Act act, int slot = 0, int type = 0, long first = 0, long length = 0, int to = 0);
  std::string Open(const std::string& path, int flags, int slot = 0);
  // The same in two steps. Answer(): nothing if none came in time.
  void Begin(const Order& order);
  std::optional<std::string> Answer(std::chrono::milliseconds timeout);

 private:
  UniqueFd socket_;
  ChildProcess process_;
};

}  // namespace strata::support
