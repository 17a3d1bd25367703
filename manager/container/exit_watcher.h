// Tells when processes end, for any number of them, with one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <thread>

#include "base/error.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "manager/container/notifier.h"

namespace strata::manager {

// Waits on pidfds with epoll. Callbacks run one after the other on the watcher's own thread and
// must not block for long; they may call Watch(). Destruction stops the thread; callbacks that have
// not run by then never do.
class ExitWatcher {
 public:
  static Result<std::unique_ptr<ExitWatcher>> Create();
  ~ExitWatcher();

  // Calls `ended` once when the process that `pidfd` holds has ended (at once if it has already).
  Result<> Watch(UniqueFd pidfd, std::function<void()> ended);

 private:
  struct Entry {
    UniqueFd pidfd;
    std::function<void()> ended;
  };
  ExitWatcher(UniqueFd epoll, Notifier stop) : epoll_(std::move(epoll)), stop_(std::move(stop)) {}
  void Loop();

  UniqueFd epoll_;
  Notifier stop_;
  Mutex mu_;                                           // leaf
  std::uint64_t next_key_ STRATA_GUARDED_BY(mu_) = 1;  // 0 is the stop notifier's
  std::map<std::uint64_t, Entry> entries_ STRATA_GUARDED_BY(mu_);
  std::jthread thread_;
};

}  // namespace strata::manager
