// Things a client waits for, each with a descriptor that poll(2) can watch: a container's end, and
// the streams of a container that is about to start.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "manager/container/notifier.h"

namespace strata::manager {

enum class WaitCondition : std::uint8_t { kNotRunning, kNextExit, kRemoved };

struct ExitOutcome {
  int exit_code = 0;
  std::string error;  // why there is no proper exit code
};

// A value that arrives once. Set() and Take() may be called from any thread; only the first Set()
// counts, only one Take() gets the value.
template <class T>
class Pending {
 public:
  static Result<std::shared_ptr<Pending>> Create() {
    auto notifier = Notifier::Create();
    if (!notifier) return std::unexpected(std::move(notifier).error());
    return std::shared_ptr<Pending>(new Pending(std::move(*notifier)));
  }

  // Readable once the value is there.
  int fd() const { return notifier_.fd(); }
  void Set(T value) {
    const MutexLock lock(mu_);
    if (set_) return;
    set_ = true;
    value_ = std::move(value);
    notifier_.Signal();
  }
  std::optional<T> Take() {
    const MutexLock lock(mu_);
    return std::exchange(value_, std::nullopt);
  }

 private:
  explicit Pending(Notifier notifier) : notifier_(std::move(notifier)) {}

  Notifier notifier_;
  Mutex mu_;  // leaf
  bool set_ STRATA_GUARDED_BY(mu_) = false;
  std::optional<T> value_ STRATA_GUARDED_BY(mu_);
};

using ExitWait = Pending<ExitOutcome>;
// The connected stream, or why there is none.
using AttachWait = Pending<Result<UniqueFd>>;

}  // namespace strata::manager
