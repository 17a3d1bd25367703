#include "fusefs/transport/uring_entry.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

namespace strata::fusefs {
namespace {

// The kernel's header has the first page. The second ends where the payload begins: what precedes a
// request's data is put there, so that the whole request is in one piece without moving the data.
constexpr std::size_t kPage = 4096;
constexpr std::size_t kPayloadOffset = 2 * kPage;
constexpr std::size_t kMemory = kPayloadOffset + wire::kMaxWrite;

}  // namespace

UringEntry::UringEntry(std::byte* memory)
    : memory_(memory),
      header_(reinterpret_cast<wire::UringEntryHeader*>(memory)),
      payload_(memory + kPayloadOffset),
      vectors_{iovec{header_, sizeof *header_}, iovec{payload_, wire::kMaxWrite}} {}

UringEntry::~UringEntry() { ::munmap(memory_, kMemory); }

Result<std::unique_ptr<UringEntry>> UringEntry::Create() {
  void* memory =
      ::mmap(nullptr, kMemory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return FailErrno("mmap");
  return std::unique_ptr<UringEntry>(new UringEntry(static_cast<std::byte*>(memory)));
}

Result<std::span<std::byte>> UringEntry::Begin() {
  fuse_in_header in{};
  std::memcpy(&in, header_->in_out, sizeof in);
  const std::size_t data = header_->payload_size;
  if (data > wire::kMaxWrite || in.len < sizeof in + data ||
      in.len - sizeof in - data > sizeof header_->op_in) {
    return Fail(EPROTO, "request over io_uring");
  }
  const std::size_t fixed = in.len - sizeof in - data;
  std::byte* const start = payload_ - fixed - sizeof in;
  std::memcpy(start, &in, sizeof in);
  std::memcpy(start + sizeof in, header_->op_in, fixed);
  commit_id_ = header_->commit_id;
  state_.store(State::kServed, std::memory_order_relaxed);
  unique_.store(in.unique, std::memory_order_release);
  return std::span(start, in.len);
}

void UringEntry::Finish(const fuse_out_header& header, std::size_t payload) noexcept {
  std::memcpy(header_->in_out, &header, sizeof header);
  header_->payload_size = static_cast<std::uint32_t>(payload);
  state_.store(State::kAnswered, std::memory_order_release);
  state_.notify_one();
}

ssize_t UringEntry::Refuse(const fuse_out_header& header, int code) noexcept {
  fuse_out_header refused = header;
  refused.error = -EIO;
  refused.len = sizeof refused;
  Finish(refused, 0);
  errno = code;
  return -1;
}

ssize_t UringEntry::Answer(std::span<const iovec> message) noexcept {
  fuse_out_header header{};
  std::memcpy(&header, message[0].iov_base, sizeof header);
  std::size_t length = 0;
  for (const iovec& part : message.subspan(1)) {
    if (part.iov_len > wire::kMaxWrite - length) return Refuse(header, EINVAL);
    // A body that was made in place starts at the payload's start.
    if (part.iov_base != payload_ + length) {
      std::memmove(payload_ + length, part.iov_base, part.iov_len);
    }
    length += part.iov_len;
  }
  Finish(header, length);
  return static_cast<ssize_t>(sizeof header + length);
}

ssize_t UringEntry::AnswerFromPipe(const fuse_out_header& header, int pipe) noexcept {
  const std::size_t length = header.len - sizeof header;
  if (length > wire::kMaxWrite) return Refuse(header, EINVAL);
  std::size_t got = 0;
  while (got < length) {
    const ssize_t part = ::read(pipe, payload_ + got, length - got);
    if (part < 0 && errno == EINTR) continue;
    if (part <= 0) return Refuse(header, part < 0 ? errno : EIO);
    got += static_cast<std::size_t>(part);
  }
  Finish(header, length);
  return static_cast<ssize_t>(sizeof header + length);
}

void UringEntry::WakeUp() {
  State served = State::kServed;
  if (state_.compare_exchange_strong(served, State::kGivenUp)) state_.notify_one();
}

}  // namespace strata::fusefs
