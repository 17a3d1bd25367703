// One place for a request in a queue of FUSE over io_uring: the memory the kernel writes the
// request to and reads the reply from, and whether the reply is there yet.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/error.h"
#include "fusefs/transport/wire.h"

namespace strata::fusefs {

// Owned by one thread, which begins requests and hands the entry back to the kernel; answered by
// that thread or by any other, once per request. Its pages take memory only once touched.
class UringEntry {
 public:
  static Result<std::unique_ptr<UringEntry>> Create();
  ~UringEntry();
  UringEntry(const UringEntry&) = delete;
  UringEntry& operator=(const UringEntry&) = delete;

  // What the kernel is given to know the memory by; lives as long as the entry.
  std::span<const iovec> vectors() const { return vectors_; }

  // Puts the request the kernel has delivered together. EPROTO if it makes no sense.
  Result<std::span<std::byte>> Begin();
  // Where a reply's body is made without a copy. It is also where the request's data lies, so it is
  // to be written only once those are not needed any more.
  std::span<std::byte> payload() const { return {payload_, wire::kMaxWrite}; }
  // The request that was begun last.
  std::uint64_t unique() const { return unique_.load(std::memory_order_acquire); }
  std::uint64_t commit_id() const { return commit_id_; }

  // Takes the reply to that request, fuse_out_header first; as writev(2). One that does not fit
  // becomes EIO, and fails with EINVAL.
  ssize_t Answer(std::span<const iovec> message) noexcept;
  // The same with the body in a pipe, from which the header has been read. As read(2).
  ssize_t AnswerFromPipe(const fuse_out_header& header, int pipe) noexcept;

  // Whether the reply is there; Wait() sleeps until it is, or until WakeUp().
  bool answered() const { return state_.load(std::memory_order_acquire) == State::kAnswered; }
  void Wait() const { state_.wait(State::kServed, std::memory_order_acquire); }
  void WakeUp();

 private:
  enum class State : std::uint8_t { kServed, kAnswered, kGivenUp };

  explicit UringEntry(std::byte* memory);
  void Finish(const fuse_out_header& header, std::size_t payload) noexcept;
  ssize_t Refuse(const fuse_out_header& header, int code) noexcept;

  std::byte* const memory_;
  wire::UringEntryHeader* const header_;
  std::byte* const payload_;
  const std::array<iovec, 2> vectors_;
  std::atomic<std::uint64_t> unique_ = 0;
  std::uint64_t commit_id_ = 0;
  std::atomic<State> state_ = State::kAnswered;
};

}  // namespace strata::fusefs
