// The transport over io_uring (Linux 6.14): the kernel has one queue for each processor and puts a
// request into that of the processor it comes from; a thread pinned there serves it and sends the
// reply with the same system call that waits for the next request. What the kernel does not send
// that way (INIT, FORGET, INTERRUPT, notifications) goes over /dev/fuse as ever.
//
// A mount served like this cannot be taken over by another process (FACTS §3).
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <vector>

#include "base/annotations.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "fusefs/transport/device_transport.h"
#include "fusefs/transport/transport.h"

namespace strata::fusefs {

class UringEntry;

struct UringTransportOptions {
  unsigned threads = 4;               // at least 1; requests served at once for each processor
  std::chrono::microseconds spin{0};  // polling before sleep (AdaptiveSpin); 0: none
};

// Each thread has one entry of its queue and an io_uring of its own, so that the kernel never gives
// a request to a thread that is busy with another. A queue starts with one thread; whenever all are
// busy it gets one more, up to `threads`. Threads whose request waits for an answer that will come
// from elsewhere (a lock somebody else holds) do not count: however many wait, others are served.
class UringTransport final : public Transport {
 public:
  // `device` is a mounted /dev/fuse. See CheckUring() for whether it will work.
  static Result<std::unique_ptr<UringTransport>> Create(UniqueFd device,
                                                        UringTransportOptions options);
  ~UringTransport() override;

  Result<> Start(RequestSink& sink) override;
  bool wants_uring() const noexcept override { return true; }
  // Without `over_uring` everything is served over /dev/fuse.
  Result<> HandshakeDone(bool over_uring) override;
  void Stop() noexcept override;
  int ended() const noexcept override { return device_->ended(); }
  int device() const noexcept override { return device_->device(); }
  ssize_t Send(std::span<const iovec> message) noexcept override;
  ssize_t SendFromPipe(int pipe, std::size_t length, unsigned flags) noexcept override;

 private:
  class Worker;

  // One of the kernel's queues.
  struct alignas(64) Queue {
    unsigned number = 0;
    std::atomic<unsigned> threads = 0;  // changed under mutex_
    std::atomic<unsigned> busy = 0;     // of them, with a request
    std::atomic<unsigned> parked = 0;   // of those, with one that waits for its answer
    // What the requests that were last begun, and last found to have to wait, are about.
    std::atomic<std::uint64_t> begun_node = 0;
    std::atomic<std::uint64_t> parked_node = 0;
    // Whether the next request might find nobody, and there may be one more thread.
    bool WantsThread(unsigned limit) const {
      const unsigned now_busy = busy.load();
      return now_busy >= threads.load() && now_busy - parked.load() < limit;
    }
  };

  UringTransport(std::unique_ptr<DeviceTransport> device, UniqueFd stop, unsigned queues,
                 UringTransportOptions options);
  // Starts a thread that `queue` already counts; uncounts it on failure.
  Result<> AddWorker(Queue& queue) STRATA_EXCLUDES(mutex_);
  // Makes sure that somebody waits for the queue's next request.
  void KeepServed(Queue& queue) STRATA_EXCLUDES(mutex_);
  // Requests that found nobody wait in the kernel until a reply is sent to their queue; a thread
  // that joins is not given them. There may never be a reply if the queue's other requests all wait
  // for what one of these does. So whoever joins, or goes to sleep with its request unanswered, has
  // the kernel send one more to its processor, for nothing of the data of `node`; whoever is free
  // answers that, and gets what waits. False if `node` is no regular file, for which the kernel
  // does not do it: what requests wait for are locks, and those are on such; else what waits comes
  // with the reply to the request now in work.
  bool FetchWaiting(std::uint64_t node);
  // Where the answer to that request goes; nullptr: over the device.
  UringEntry* Route(std::uint64_t unique) STRATA_EXCLUDES(mutex_);
  // An INTERRUPT that has come before the request it is about: libfuse answers it with "try again",
  // which the kernel would do over /dev/fuse only. It is kept until that request waits.
  void PostponeInterrupt(std::uint64_t target) STRATA_EXCLUDES(mutex_);
  void Interrupt(std::uint64_t target) STRATA_EXCLUDES(mutex_);
  void Broken(const Error& error) noexcept;

  const std::unique_ptr<DeviceTransport> device_;
  const UniqueFd stop_;  // eventfd that wakes the threads
  const UringTransportOptions options_;
  std::vector<Queue> queues_;    // of fixed size
  RequestSink* sink_ = nullptr;  // set by Start(), before any thread
  std::atomic<bool> over_uring_ = false;
  std::atomic<std::uint64_t> fetches_ = 0;

  Mutex mutex_;  // docs/locking.md: leaf
  bool stopping_ STRATA_GUARDED_BY(mutex_) = false;
  // Threads and their entries stay until the end: a late answer finds its entry even after Stop().
  std::vector<std::unique_ptr<Worker>> workers_ STRATA_GUARDED_BY(mutex_);
  // Requests whose threads sleep until they are answered, and those whose INTERRUPT came too early.
  std::vector<std::uint64_t> parked_ STRATA_GUARDED_BY(mutex_);
  std::vector<std::uint64_t> early_interrupts_ STRATA_GUARDED_BY(mutex_);
};

}  // namespace strata::fusefs
