#include "fusefs/transport/device_transport.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <system_error>
#include <utility>

#include "base/logging.h"
#include "base/try.h"
#include "fusefs/transport/pause.h"
#include "fusefs/transport/spin.h"
#include "fusefs/transport/wire.h"

namespace strata::fusefs {
namespace {

using Clock = std::chrono::steady_clock;

// So many requests in a row that were already waiting mean that one reader is not enough.
constexpr int kBacklog = 32;
// Batches of forgotten nodes after which the buffer is given back.
constexpr std::size_t kLargeBatch = 64 * 1024;

// A page-aligned buffer whose pages take memory only once touched.
class RequestBuffer {
 public:
  static std::optional<RequestBuffer> Allocate() {
    void* memory = ::mmap(nullptr, wire::kRequestBufferSize, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return std::nullopt;
    return RequestBuffer(static_cast<std::byte*>(memory));
  }
  RequestBuffer(RequestBuffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  RequestBuffer& operator=(RequestBuffer&&) = delete;
  ~RequestBuffer() {
    if (data_ != nullptr) ::munmap(data_, wire::kRequestBufferSize);
  }
  std::byte* data() const { return data_; }
  // Gives the memory back; it is empty then.
  void Clear() const {
    if (::madvise(data_, wire::kRequestBufferSize, MADV_DONTNEED) != 0) {
      Ignore(FailErrno("madvise"), "memory of a request buffer");
    }
  }

 private:
  explicit RequestBuffer(std::byte* data) : data_(data) {}
  std::byte* data_;
};

}  // namespace

// One serving thread.
class DeviceTransport::Worker {
 public:
  Worker(DeviceTransport& transport, RequestBuffer buffer)
      : transport_(transport), buffer_(std::move(buffer)), spin_(transport.options_.spin) {}

  void Run() noexcept {
    for (;;) {
      const ReaderGate::Role role = transport_.gate_.Enter();
      if (transport_.idle_.fetch_sub(1) == 1) transport_.KeepOneAsleep();
      switch (role) {
        case ReaderGate::Role::kLead:
          Lead();
          break;
        case ReaderGate::Role::kHelp:
          Help();
          break;
        case ReaderGate::Role::kStop:
          return;
      }
      transport_.idle_.fetch_add(1);
    }
  }

 private:
  enum class Read : std::uint8_t { kRequest, kNothing, kEnded };

  void Lead() {
    int backlog = 0;
    served_ = Clock::now();
    for (;;) {
      Read read = Receive();
      if (read == Read::kRequest) {
        ++backlog;
        spin_.Arrived(Clock::duration::zero());
      } else if (read == Read::kNothing) {
        backlog = 0;
        read = Await();
      }
      if (read != Read::kRequest) {
        transport_.gate_.Leave();
        return;
      }
      if (backlog >= kBacklog) {
        backlog = 0;
        transport_.gate_.CallHelper();
      }
      const std::uint64_t request = transport_.gate_.BeginRequest();
      Serve();
      if (!transport_.gate_.EndRequest(request)) return;
      served_ = Clock::now();
    }
  }

  void Help() {
    while (Receive() == Read::kRequest) Serve();
  }

  void Serve() {
    fuse_in_header header{};
    std::memcpy(&header, buffer_.data(), std::min(sizeof header, size_));
    transport_.sink_->Process({buffer_.data(), size_}, {});
    // Nodes are forgotten in as large batches as fit, and not again soon.
    if (header.opcode == FUSE_BATCH_FORGET && size_ >= kLargeBatch) buffer_.Clear();
  }

  // Takes a request if one is waiting.
  Read Receive() {
    for (;;) {
      if (transport_.stopping_.load(std::memory_order_relaxed)) return Read::kEnded;
      const ssize_t got =
          ::read(transport_.device_.get(), buffer_.data(), wire::kRequestBufferSize);
      if (got > 0) {
        size_ = static_cast<std::size_t>(got);
        return Read::kRequest;
      }
      if (got == 0) break;
      // ENOENT: the request was interrupted before it could be read.
      if (errno == EINTR || errno == ENOENT) continue;
      if (errno == EAGAIN) return Read::kNothing;
      // ENODEV and ECONNABORTED: unmounted or aborted.
      if (errno != ENODEV && errno != ECONNABORTED) {
        log::Error("reading requests failed", {{"error", std::strerror(errno)}});
      }
      break;
    }
    transport_.End();
    return Read::kEnded;
  }

  // Polls for as long as that has been paying. Not longer than others leave us the processor: a
  // thread that polls is at the end of the queue for it, one that sleeps is at the front when
  // woken.
  Read Poll() {
    const Clock::time_point deadline = served_ + spin_.Budget();
    Clock::time_point now = Clock::now();
    while (now < deadline) {
      for (int i = 0; i < kPausesPerLook; ++i) Pause();
      const Read read = Receive();
      if (read != Read::kNothing) return read;
      const Clock::time_point before = std::exchange(now, Clock::now());
      if (now - before > kPreempted) {
        spin_.Interrupted();
        break;
      }
    }
    return Read::kNothing;
  }

  // Waits for a request, polling first.
  Read Await() {
    Read read = Poll();
    while (read == Read::kNothing) {
      pollfd waits[] = {{transport_.device_.get(), POLLIN, 0}, {transport_.stop_.get(), POLLIN, 0}};
      if (::poll(waits, 2, -1) < 0 && errno != EINTR) {
        log::Error("waiting for requests failed", {{"error", std::strerror(errno)}});
        transport_.End();
        return Read::kEnded;
      }
      read = Receive();
    }
    spin_.Arrived(Clock::now() - served_);
    return read;
  }

  DeviceTransport& transport_;
  const RequestBuffer buffer_;
  std::size_t size_ = 0;  // of the request in the buffer
  AdaptiveSpin spin_;
  Clock::time_point served_ = Clock::now();
};

DeviceTransport::DeviceTransport(UniqueFd device, UniqueFd ended, UniqueFd stop,
                                 DeviceTransportOptions options)
    : device_(std::move(device)),
      ended_(std::move(ended)),
      stop_(std::move(stop)),
      options_(options) {}

DeviceTransport::~DeviceTransport() { Stop(); }

Result<std::unique_ptr<DeviceTransport>> DeviceTransport::Create(UniqueFd device,
                                                                 DeviceTransportOptions options) {
  const int flags = ::fcntl(device.get(), F_GETFL);
  if (flags < 0 || ::fcntl(device.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    return FailErrno("fcntl", "/dev/fuse");
  }
  UniqueFd ended(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  UniqueFd stop(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!ended || !stop) return FailErrno("eventfd");
  return std::unique_ptr<DeviceTransport>(
      new DeviceTransport(std::move(device), std::move(ended), std::move(stop), options));
}

Result<> DeviceTransport::Start(RequestSink& sink) {
  sink_ = &sink;
  const MutexLock lock(mutex_);
  return AddThread();
}

Result<> DeviceTransport::AddThread() {
  if (threads_.size() >= options_.threads) return {};
  auto buffer = RequestBuffer::Allocate();
  if (!buffer) return FailErrno("mmap");
  auto worker = std::make_unique<Worker>(*this, std::move(*buffer));
  idle_.fetch_add(1);
  try {
    threads_.emplace_back([worker = std::move(worker)] { worker->Run(); });
  } catch (const std::system_error& error) {
    idle_.fetch_sub(1);
    return Fail(error.code().value(), "thread");
  }
  return {};
}

void DeviceTransport::KeepOneAsleep() noexcept {
  const MutexLock lock(mutex_);
  if (stopping_.load() || idle_.load() > 0) return;
  if (auto added = AddThread(); !added) {
    log::Warn("requests are served by fewer threads", {{"error", added.error().ToString()}});
  }
}

void DeviceTransport::End() noexcept {
  stopping_.store(true);
  gate_.Stop();
  for (const int fd : {stop_.get(), ended_.get()}) {
    if (::eventfd_write(fd, 1) != 0) {
      log::Error("eventfd write failed", {{"error", std::strerror(errno)}});
    }
  }
}

void DeviceTransport::Stop() noexcept {
  std::vector<std::jthread> ending;
  {
    const MutexLock lock(mutex_);
    if (threads_.empty()) return;
    // Under the lock: no thread is added from here on.
    End();
    ending.swap(threads_);
  }
}

ssize_t DeviceTransport::Send(std::span<const iovec> message) noexcept {
  return ::writev(device_.get(), message.data(), static_cast<int>(message.size()));
}

ssize_t DeviceTransport::SendFromPipe(int pipe, std::size_t length, unsigned flags) noexcept {
  return ::splice(pipe, nullptr, device_.get(), nullptr, length, flags);
}

}  // namespace strata::fusefs
