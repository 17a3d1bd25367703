// The transport over /dev/fuse: one shared descriptor (a successor process can take it over, which
// cloned ones rule out: FACTS §3) and a fixed pool of threads.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "fusefs/transport/reader_gate.h"
#include "fusefs/transport/transport.h"

namespace strata::fusefs {

struct DeviceTransportOptions {
  unsigned threads = 4;  // at least 1; requests served at once, by threads that come when needed
  std::chrono::microseconds spin{100};  // polling before sleep (AdaptiveSpin); 0: none
};

class DeviceTransport final : public Transport {
 public:
  // `device` is a mounted /dev/fuse; it is made non-blocking.
  static Result<std::unique_ptr<DeviceTransport>> Create(UniqueFd device,
                                                         DeviceTransportOptions options);
  ~DeviceTransport() override;

  Result<> Start(RequestSink& sink) override;
  bool wants_uring() const noexcept override { return false; }
  Result<> HandshakeDone(bool /*over_uring*/) override { return {}; }
  void Stop() noexcept override;
  int ended() const noexcept override { return ended_.get(); }
  int device() const noexcept override { return device_.get(); }
  ssize_t Send(std::span<const iovec> message) noexcept override;
  ssize_t SendFromPipe(int pipe, std::size_t length, unsigned flags) noexcept override;

  // As if the connection were over: no more requests, and ended() becomes readable.
  void End() noexcept;

 private:
  class Worker;

  // One more thread, unless all are there.
  Result<> AddThread() STRATA_REQUIRES(mutex_);
  // Called by a thread that got something to do: another one must be asleep at the gate, to be
  // woken when this one is busy for long.
  void KeepOneAsleep() noexcept;

  DeviceTransport(UniqueFd device, UniqueFd ended, UniqueFd stop, DeviceTransportOptions options);

  const UniqueFd device_;
  const UniqueFd ended_;  // eventfd, see ended()
  const UniqueFd stop_;   // eventfd that wakes the waiting leader
  const DeviceTransportOptions options_;
  RequestSink* sink_ = nullptr;  // set by Start(), before the threads
  std::atomic<bool> stopping_ = false;
  ReaderGate gate_;
  std::atomic<int> idle_ = 0;  // at the gate, or on the way there
  Mutex mutex_;                // docs/locking.md
  std::vector<std::jthread> threads_ STRATA_GUARDED_BY(mutex_);
};

}  // namespace strata::fusefs
