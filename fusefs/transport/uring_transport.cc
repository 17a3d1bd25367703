#include "fusefs/transport/uring_transport.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

#include "base/affinity.h"
#include "base/logging.h"
#include "base/try.h"
#include "fusefs/transport/uring_entry.h"
#include "fusefs/transport/uring_ring.h"
#include "fusefs/transport/uring_support.h"
#include "fusefs/transport/wire.h"

namespace strata::fusefs {
namespace {

// More waiting requests of one processor than this are not served.
constexpr unsigned kMaxThreadsPerQueue = 4096;
// Interrupts that are kept for a request still to come. Most are for one already answered.
constexpr std::size_t kMaxEarlyInterrupts = 64;

// The entry whose request this thread is serving.
thread_local UringEntry* current_entry = nullptr;

}  // namespace

// One serving thread, its io_uring and its entry.
class UringTransport::Worker {
 public:
  Worker(UringTransport& transport, Queue& queue, std::unique_ptr<UringRing> ring,
         std::unique_ptr<UringEntry> entry)
      : transport_(transport), queue_(queue), ring_(std::move(ring)), entry_(std::move(entry)) {}

  void Start() {
    thread_ = std::jthread([this] { Run(); });
  }
  void Join() {
    if (thread_.joinable()) thread_.join();
  }
  UringEntry& entry() { return *entry_; }

 private:
  void Run() noexcept {
    PinThread(queue_.number);
    if (const auto opened = ring_->Open(*entry_); !opened) return transport_.Broken(opened.error());
    FetchWaiting();
    for (;;) {
      const auto event = ring_->Await();
      if (!event) return transport_.Broken(event.error());
      if (*event != UringRing::Event::kRequest || !Serve()) return;
      if (const auto sent = ring_->Commit(*entry_); !sent) return transport_.Broken(sent.error());
    }
  }

  // False if there is nothing to answer with.
  bool Serve() noexcept {
    const auto request = entry_->Begin();
    if (!request) {
      transport_.Broken(request.error());
      return false;
    }
    fuse_in_header header{};
    std::memcpy(&header, request->data(), sizeof header);
    if (header.opcode == FUSE_NOTIFY_REPLY) {
      // Our own, see FetchWaiting(): it is answered only to get the next one.
      const fuse_out_header done{.len = sizeof done, .error = 0, .unique = header.unique};
      const iovec message{const_cast<fuse_out_header*>(&done), sizeof done};
      return entry_->Answer(std::span(&message, 1)) > 0;
    }
    node_ = header.nodeid;
    queue_.begun_node.store(node_);
    queue_.busy.fetch_add(1);
    transport_.KeepServed(queue_);
    current_entry = entry_.get();
    transport_.sink_->Process(*request, entry_->payload());
    current_entry = nullptr;
    if (!entry_->answered()) Park();
    queue_.busy.fetch_sub(1);
    return entry_->answered();
  }

  // See UringTransport::FetchWaiting(); for a thread that joins.
  void FetchWaiting() {
    for (const std::uint64_t node : {queue_.parked_node.load(), queue_.begun_node.load()}) {
      if (node != 0 && transport_.FetchWaiting(node)) return;
    }
  }

  // Sleeps until another thread has answered the request, or the transport stops.
  void Park() {
    queue_.parked.fetch_add(1);
    // A thread that is about to join finds this node, or is found by what this thread fetches.
    queue_.parked_node.store(node_);
    transport_.KeepServed(queue_);
    transport_.FetchWaiting(node_);
    bool interrupted = false;
    bool stopping = false;
    {
      MutexLock lock(transport_.mutex_);
      transport_.parked_.push_back(entry_->unique());
      stopping = transport_.stopping_;
      interrupted = std::erase(transport_.early_interrupts_, entry_->unique()) != 0;
    }
    if (interrupted) transport_.Interrupt(entry_->unique());
    if (!stopping) entry_->Wait();
    {
      MutexLock lock(transport_.mutex_);
      std::erase(transport_.parked_, entry_->unique());
    }
    queue_.parked.fetch_sub(1);
  }

  UringTransport& transport_;
  Queue& queue_;
  const std::unique_ptr<UringRing> ring_;
  const std::unique_ptr<UringEntry> entry_;
  std::uint64_t node_ = 0;  // of the request in work
  std::jthread thread_;
};

UringTransport::UringTransport(std::unique_ptr<DeviceTransport> device, UniqueFd stop,
                               unsigned queues, UringTransportOptions options)
    : device_(std::move(device)), stop_(std::move(stop)), options_(options), queues_(queues) {
  for (unsigned number = 0; number < queues; ++number) queues_[number].number = number;
}

UringTransport::~UringTransport() { Stop(); }

Result<std::unique_ptr<UringTransport>> UringTransport::Create(UniqueFd device,
                                                               UringTransportOptions options) {
  STRATA_TRY_ASSIGN(const unsigned queues, CountUringQueues());
  // Little comes over the device, so nobody polls it; should the kernel decline io_uring after all,
  // there are threads enough.
  STRATA_TRY_ASSIGN(auto base, DeviceTransport::Create(std::move(device),
                                                       {.threads = options.threads, .spin = {}}));
  UniqueFd stop(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop) return FailErrno("eventfd");
  return std::unique_ptr<UringTransport>(
      new UringTransport(std::move(base), std::move(stop), queues, options));
}

Result<> UringTransport::Start(RequestSink& sink) {
  sink_ = &sink;
  return device_->Start(sink);
}

Result<> UringTransport::HandshakeDone(bool over_uring) {
  if (!over_uring) {
    log::Warn("the kernel declined FUSE over io_uring: serving over /dev/fuse");
    return {};
  }
  over_uring_.store(true);
  // The kernel holds all requests back until each queue has somebody.
  for (Queue& queue : queues_) {
    queue.threads.fetch_add(1);
    STRATA_TRY(AddWorker(queue));
  }
  return {};
}

Result<> UringTransport::AddWorker(Queue& queue) {
  auto ring = UringRing::Create(device_->device(), stop_.get(), queue.number, options_.spin);
  auto entry = UringEntry::Create();
  if (!ring || !entry) {
    queue.threads.fetch_sub(1);
    return std::unexpected(std::move(ring ? entry.error() : ring.error()));
  }
  auto worker = std::make_unique<Worker>(*this, queue, std::move(*ring), std::move(*entry));
  MutexLock lock(mutex_);
  if (stopping_) return {};
  worker->Start();
  workers_.push_back(std::move(worker));
  return {};
}

void UringTransport::KeepServed(Queue& queue) {
  if (!queue.WantsThread(options_.threads)) return;
  {
    MutexLock lock(mutex_);
    if (!queue.WantsThread(options_.threads)) return;
    if (queue.threads.load() >= kMaxThreadsPerQueue) return;
    queue.threads.fetch_add(1);
  }
  if (const auto added = AddWorker(queue); !added) {
    log::Error("no more threads to serve requests", {{"error", added.error().ToString()}});
  }
}

bool UringTransport::FetchWaiting(std::uint64_t node) {
  struct {
    fuse_out_header header;
    fuse_notify_retrieve_out body;
  } message{};
  message.header.len = sizeof message;
  message.header.error = FUSE_NOTIFY_RETRIEVE;
  // Requests are numbered from below.
  message.body.notify_unique = std::uint64_t{1} << 63 | fetches_.fetch_add(2);
  message.body.nodeid = node;
  const iovec part{&message, sizeof message};
  return device_->Send(std::span(&part, 1)) >= 0;
}

void UringTransport::Stop() noexcept {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    if (::eventfd_write(stop_.get(), 1) != 0) {
      log::Error("eventfd write failed", {{"error", std::strerror(errno)}});
    }
    for (const auto& worker : workers_) worker->entry().WakeUp();
  }
  // Nothing is added any more.
  const std::size_t count = [this] {
    MutexLock lock(mutex_);
    return workers_.size();
  }();
  for (std::size_t i = 0; i < count; ++i) {
    Worker* worker = nullptr;
    {
      MutexLock lock(mutex_);
      worker = workers_[i].get();
    }
    worker->Join();
  }
  device_->Stop();
}

void UringTransport::Broken(const Error& error) noexcept {
  log::Error("serving over io_uring failed", {{"error", error.ToString()}});
  device_->End();
}

// --- replies ------------------------------------------------------------------------------------

UringEntry* UringTransport::Route(std::uint64_t unique) {
  if (current_entry != nullptr && current_entry->unique() == unique) return current_entry;
  if (!over_uring_.load(std::memory_order_relaxed)) return nullptr;
  MutexLock lock(mutex_);
  const auto found = std::ranges::find_if(workers_, [unique](const auto& worker) {
    return worker->entry().unique() == unique && !worker->entry().answered();
  });
  return found == workers_.end() ? nullptr : &(*found)->entry();
}

ssize_t UringTransport::Send(std::span<const iovec> message) noexcept {
  fuse_out_header header{};
  std::memcpy(&header, message[0].iov_base, sizeof header);
  if (header.unique == 0) return device_->Send(message);  // a notification
  if (UringEntry* entry = Route(header.unique)) return entry->Answer(message);
  if ((header.unique & wire::kInterruptBit) != 0 && header.error == -EAGAIN &&
      over_uring_.load(std::memory_order_relaxed)) {
    PostponeInterrupt(header.unique & ~wire::kInterruptBit);
    return sizeof header;
  }
  return device_->Send(message);
}

ssize_t UringTransport::SendFromPipe(int pipe, std::size_t length, unsigned flags) noexcept {
  if (!over_uring_.load(std::memory_order_relaxed)) {
    return device_->SendFromPipe(pipe, length, flags);
  }
  fuse_out_header header{};
  if (::read(pipe, &header, sizeof header) != sizeof header || header.len != length) {
    errno = EINVAL;
    return -1;
  }
  UringEntry* entry = Route(header.unique);
  if (entry == nullptr) {
    errno = ENOENT;
    return -1;
  }
  return entry->AnswerFromPipe(header, pipe);
}

// --- interrupts ---------------------------------------------------------------------------------

void UringTransport::PostponeInterrupt(std::uint64_t target) {
  {
    MutexLock lock(mutex_);
    const bool waits = std::ranges::find(parked_, target) != parked_.end();
    if (!waits) {
      if (early_interrupts_.size() == kMaxEarlyInterrupts) {
        early_interrupts_.erase(early_interrupts_.begin());
      }
      early_interrupts_.push_back(target);
      return;
    }
  }
  Interrupt(target);
}

void UringTransport::Interrupt(std::uint64_t target) {
  struct {
    fuse_in_header header;
    fuse_interrupt_in body;
  } request{};
  request.header.len = sizeof request;
  request.header.opcode = FUSE_INTERRUPT;
  request.header.unique = target | wire::kInterruptBit;
  request.body.unique = target;
  sink_->Process(std::as_writable_bytes(std::span(&request, 1)), {});
}

}  // namespace strata::fusefs
