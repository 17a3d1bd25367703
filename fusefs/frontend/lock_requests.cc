#include "fusefs/frontend/lock_requests.h"

#include <fuse3/fuse_lowlevel.h>

#include <atomic>
#include <utility>

#include "base/affinity.h"

namespace strata::fusefs {
namespace {

// The kernel sends RELEASE in the background: close(2) is back before we know of it. What is asked
// for next may be read from the device by another thread, or come over another queue.
constexpr std::chrono::milliseconds kReleaseDelay{5};

}  // namespace

// One deferred request. Whoever takes it out of the table of locks answers it. libfuse calls
// OnInterrupt() with the request's own lock held, which fuse_req_interrupt_func() takes, too: after
// Disarm() no such call is running or will come.
class LockRequests::Waiting final : public LockWaiter,
                                    public std::enable_shared_from_this<LockRequests::Waiting> {
 public:
  Waiting(FileLocks& locks, FileKey file, fuse_req* raw) : locks_(locks), file_(file), raw_(raw) {}

  void Arm() { fuse_req_interrupt_func(raw_, &OnInterrupt, this); }

  void Granted() noexcept override { Answer(0); }

  void Answer(int code) noexcept {
    fuse_req_interrupt_func(raw_, nullptr, nullptr);
    fuse_reply_err(raw_, code);
  }

  // Ends the wait with `code` unless it is over.
  void GiveUp(int code) {
    if (locks_.Cancel(file_, *this)) Answer(code);
  }

  // An interrupt that came before the table knew of us.
  void CatchUp() {
    if (interrupted_.load()) GiveUp(EINTR);
  }

 private:
  static void OnInterrupt(fuse_req* raw, void* data) {
    auto& waiting = *static_cast<Waiting*>(data);
    const auto self = waiting.shared_from_this();
    waiting.interrupted_.store(true);
    if (waiting.locks_.Cancel(waiting.file_, waiting)) fuse_reply_err(raw, EINTR);
  }

  FileLocks& locks_;
  const FileKey file_;
  fuse_req* const raw_;
  std::atomic<bool> interrupted_ = false;
};

void LockRequests::Start(Request& request, FileKey file, const FileLock& lock, bool patient) {
  const auto waiting = std::make_shared<Waiting>(locks_, file, request.Defer());
  waiting->Arm();
  switch (locks_.Set(file, lock, waiting, patient)) {
    case FileLocks::Outcome::kDone:
      return waiting->Answer(0);
    case FileLocks::Outcome::kDeadlock:
      return waiting->Answer(EDEADLK);
    case FileLocks::Outcome::kConflict:
      return waiting->Answer(EAGAIN);
    case FileLocks::Outcome::kWaiting:
      break;
  }
  waiting->CatchUp();
  if (patient) return;
  MutexLock guard(mu_);
  late_.push_back({std::chrono::steady_clock::now() + kReleaseDelay, waiting});
  if (!answers_late_.joinable()) answers_late_ = std::jthread([this] { AnswerLate(); });
  changed_.NotifyOne();
}

void LockRequests::Wait(Request& request, FileKey file, const FileLock& lock) {
  Start(request, file, lock, true);
}

void LockRequests::Try(Request& request, FileKey file, const FileLock& lock,
                       bool (*may_be_late)(const FileLock& blocker)) {
  if (locks_.Set(file, lock) == FileLocks::Outcome::kDone) return request.Done();
  const auto blocker = locks_.Test(file, lock);
  if (blocker && !may_be_late(*blocker)) return request.Fail(Error(EAGAIN, "lock"));
  Start(request, file, lock, false);
}

void LockRequests::AnswerLate() {
  UnpinThread();
  for (;;) {
    std::shared_ptr<Waiting> due;
    {
      MutexLock guard(mu_);
      changed_.Wait(mu_, [this]() STRATA_REQUIRES(mu_) { return ended_ || !late_.empty(); });
      if (ended_) return;
      const auto left = late_.front().due - std::chrono::steady_clock::now();
      if (changed_.WaitFor(mu_, left, [this]() STRATA_REQUIRES(mu_) { return ended_; })) return;
      due = std::move(late_.front().waiting);
      late_.pop_front();
    }
    due->GiveUp(EAGAIN);
  }
}

void LockRequests::End() {
  std::jthread thread;
  {
    MutexLock guard(mu_);
    ended_ = true;
    thread = std::move(answers_late_);
    changed_.NotifyAll();
  }
  if (thread.joinable()) thread.join();
  for (const auto& waiter : locks_.TakeWaiters()) static_cast<Waiting&>(*waiter).Answer(ENODEV);
}

}  // namespace strata::fusefs
