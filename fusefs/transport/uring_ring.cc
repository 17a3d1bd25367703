#include "fusefs/transport/uring_ring.h"

#include <liburing.h>
#include <poll.h>

#include <cstring>
#include <utility>

#include "base/try.h"
#include "fusefs/transport/pause.h"

namespace strata::fusefs {
namespace {

using Clock = std::chrono::steady_clock;

// One command for the entry, one poll of the stop descriptor.
constexpr unsigned kEntries = 2;
// The device's place among the ring's registered files.
constexpr int kDeviceIndex = 0;
enum Tag : std::uint64_t { kEntryTag = 1, kStopTag = 2 };

}  // namespace

UringRing::UringRing(int device, int stop, unsigned queue, std::chrono::microseconds spin)
    : device_(device),
      stop_(stop),
      queue_(queue),
      ring_(std::make_unique<io_uring>()),
      spins_(spin > std::chrono::microseconds::zero()),
      spin_(spin) {}

UringRing::~UringRing() { ::io_uring_queue_exit(ring_.get()); }

Result<std::unique_ptr<UringRing>> UringRing::Create(int device, int stop, unsigned queue,
                                                     std::chrono::microseconds spin) {
  io_uring_params parameters{};
  // One thread submits, and is disturbed by completions only when it asks for them; disabled until
  // that thread is there.
  parameters.flags = IORING_SETUP_SQE128 | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                     IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED;
  auto memory = std::make_unique<io_uring>();
  const int failed = ::io_uring_queue_init_params(kEntries, memory.get(), &parameters);
  if (failed != 0) return Fail(-failed, "io_uring_setup");
  std::unique_ptr<UringRing> ring(new UringRing(device, stop, queue, spin));
  ring->ring_ = std::move(memory);
  return ring;
}

Result<> UringRing::Open(const UringEntry& entry) {
  // liburing 2.3 declares io_uring_enable_rings(), but does not export it.
  if (const int failed = ::io_uring_register(static_cast<unsigned>(ring_->ring_fd),
                                             IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
      failed != 0) {
    return Fail(-failed, "io_uring_enable_rings");
  }
  if (const int failed = ::io_uring_register_files(ring_.get(), &device_, 1); failed != 0) {
    return Fail(-failed, "io_uring_register_files");
  }
  // Saves a look-up of the descriptor with every call, and works without.
  static_cast<void>(::io_uring_register_ring_fd(ring_.get()));
  io_uring_sqe* poll = ::io_uring_get_sqe(ring_.get());
  if (poll == nullptr) return Fail(EBUSY, "io_uring_get_sqe");
  ::io_uring_prep_poll_add(poll, stop_, POLLIN);
  ::io_uring_sqe_set_data64(poll, kStopTag);
  STRATA_TRY(Prepare(entry, wire::kUringRegister, 0));
  const int sent = ::io_uring_submit(ring_.get());
  if (sent < 0) return Fail(-sent, "io_uring_enter");
  return {};
}

Result<> UringRing::Prepare(const UringEntry& entry, std::uint32_t operation,
                            std::uint64_t commit_id) {
  io_uring_sqe* sqe = ::io_uring_get_sqe(ring_.get());
  if (sqe == nullptr) return Fail(EBUSY, "io_uring_get_sqe");
  std::memset(sqe, 0, 2 * sizeof *sqe);
  sqe->opcode = IORING_OP_URING_CMD;
  sqe->flags = IOSQE_FIXED_FILE;
  sqe->fd = kDeviceIndex;
  sqe->cmd_op = operation;
  sqe->user_data = kEntryTag;
  if (operation == wire::kUringRegister) {
    sqe->addr = reinterpret_cast<std::uintptr_t>(entry.vectors().data());
    sqe->len = static_cast<std::uint32_t>(entry.vectors().size());
  }
  const wire::UringCommand command{.flags = 0,
                                   .commit_id = commit_id,
                                   .queue = static_cast<std::uint16_t>(queue_),
                                   .padding = {}};
  std::memcpy(sqe->cmd, &command, sizeof command);
  return {};
}

Result<> UringRing::Commit(const UringEntry& entry) {
  return Prepare(entry, wire::kUringCommitAndFetch, entry.commit_id());
}

// Polls for as long as that has been paying, and others leave us the processor.
bool UringRing::Poll() {
  const Clock::time_point start = Clock::now();
  const Clock::time_point deadline = start + spin_.Budget();
  Clock::time_point now = start;
  while (now < deadline) {
    for (int i = 0; i < kPausesPerLook; ++i) Pause();
    if ((__atomic_load_n(ring_->sq.kflags, __ATOMIC_ACQUIRE) & IORING_SQ_TASKRUN) != 0) {
      ::io_uring_get_events(ring_.get());
    }
    if (::io_uring_cq_ready(ring_.get()) != 0) return true;
    const Clock::time_point before = std::exchange(now, Clock::now());
    if (now - before > kPreempted) {
      spin_.Interrupted();
      return false;
    }
  }
  return false;
}

Result<UringRing::Event> UringRing::Take() {
  io_uring_cqe* cqe = nullptr;
  if (::io_uring_peek_cqe(ring_.get(), &cqe) != 0) return Fail(EAGAIN, "io_uring");
  const std::uint64_t tag = ::io_uring_cqe_get_data64(cqe);
  const int result = cqe->res;
  ::io_uring_cqe_seen(ring_.get(), cqe);
  if (tag == kStopTag) return Event::kStop;
  switch (result) {
    case 0:
      return Event::kRequest;
    case -ENOTCONN:
    case -ECONNABORTED:
    case -ECANCELED:
      return Event::kEnded;
    default:
      return Fail(-result, "FUSE over io_uring");
  }
}

Result<UringRing::Event> UringRing::Await() {
  if (!spins_) {
    while (::io_uring_cq_ready(ring_.get()) == 0 || ::io_uring_sq_ready(ring_.get()) != 0) {
      const int failed = ::io_uring_submit_and_wait(ring_.get(), 1);
      if (failed < 0 && failed != -EINTR) return Fail(-failed, "io_uring_enter");
    }
    return Take();
  }
  const int sent = ::io_uring_submit_and_get_events(ring_.get());
  if (sent < 0 && sent != -EINTR) return Fail(-sent, "io_uring_enter");
  const Clock::time_point start = Clock::now();
  if (::io_uring_cq_ready(ring_.get()) == 0 && !Poll()) {
    do {
      const int failed = ::io_uring_submit_and_wait(ring_.get(), 1);
      if (failed < 0 && failed != -EINTR) return Fail(-failed, "io_uring_enter");
    } while (::io_uring_cq_ready(ring_.get()) == 0);
  }
  spin_.Arrived(Clock::now() - start);
  return Take();
}

}  // namespace strata::fusefs
