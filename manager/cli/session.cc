#include "manager/cli/session.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <vector>

#include "base/file_ops.h"
#include "base/try.h"
#include "manager/cli/stdcopy.h"

namespace strata::manager::cli {
namespace {

constexpr std::size_t kPiece = 32UL * 1024;
constexpr std::size_t kMaxPending = 256UL * 1024;

class Session {
 public:
  Session(HttpExchange::Connection connection, SignalQueue& signals, const SessionOptions& options)
      : socket_(std::move(connection.socket)),
        received_(std::move(connection.received)),
        signals_(signals),
        options_(options),
        detach_(options.raw ? options.detach_keys : ""),
        demuxer_([](StreamDemuxer::Stream stream, std::string_view data) {
          return WriteFd(stream == StreamDemuxer::Stream::kStderr ? STDERR_FILENO : STDOUT_FILENO,
                         data);
        }),
        piece_(kPiece) {}

  Result<SessionEnd> Run() {
    STRATA_TRY(Output(received_));
    if (!options_.send_stdin) STRATA_TRY(FinishInput());
    TellSize();
    while (!end_) {
      std::array<pollfd, 3> wait{};
      wait[0] = {.fd = socket_.get(), .events = POLLIN, .revents = 0};
      if (!pending_.empty()) wait[0].events |= POLLOUT;
      wait[1] = {.fd = signals_.fd(), .events = POLLIN, .revents = 0};
      const bool read_input = !input_ended_ && pending_.size() < kMaxPending;
      wait[2] = {.fd = read_input ? STDIN_FILENO : -1, .events = POLLIN, .revents = 0};
      if (::poll(wait.data(), wait.size(), -1) < 0) {
        if (errno == EINTR) continue;
        return FailErrno("poll");
      }
      if (wait[1].revents != 0) HandleSignals();
      if (wait[2].revents != 0) STRATA_TRY(ReadInput());
      if ((wait[0].revents & POLLOUT) != 0) STRATA_TRY(SendPending());
      if ((wait[0].revents & ~POLLOUT) != 0) STRATA_TRY(ReadOutput());
    }
    return *end_;
  }

 private:
  Result<> Output(std::string_view data) {
    return options_.framed ? demuxer_.Feed(data) : WriteFd(STDOUT_FILENO, data);
  }

  Result<> ReadOutput() {
    const ssize_t got = ::recv(socket_.get(), piece_.data(), piece_.size(), MSG_DONTWAIT);
    if (got > 0) return Output({piece_.data(), static_cast<std::size_t>(got)});
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return {};
    // A daemon that closes with our input unread resets the connection: all output has come by
    // then.
    if (got < 0 && errno != ECONNRESET) return FailErrno("receive");
    if (!end_) end_ = SessionEnd{};
    return {};
  }

  Result<> ReadInput() {
    STRATA_TRY_ASSIGN(
        const std::size_t got,
        FileOps::System().Read(STDIN_FILENO, std::as_writable_bytes(std::span(piece_))));
    if (got == 0) return FinishInput();
    const std::string_view typed(piece_.data(), got);
    if (!options_.raw) {
      pending_ += typed;
    } else if (detach_.Feed(typed, pending_)) {
      end_ = SessionEnd{SessionEnd::Reason::kDetached, 0};
    }
    return SendPending();
  }

  Result<> FinishInput() {
    input_ended_ = true;
    return SendPending();
  }

  Result<> SendPending() {
    while (!pending_.empty()) {
      const ssize_t sent =
          ::send(socket_.get(), pending_.data(), pending_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0) {
        if (errno == EAGAIN) return {};
        if (errno == EINTR) continue;
        if (errno != EPIPE && errno != ECONNRESET) return FailErrno("send");
        // The container no longer reads; what it writes is still to be shown.
        pending_.clear();
        input_ended_ = true;
        return {};
      }
      pending_.erase(0, static_cast<std::size_t>(sent));
    }
    if (input_ended_ && !shut_down_) {
      shut_down_ = true;
      if (::shutdown(socket_.get(), SHUT_WR) != 0 && errno != ENOTCONN)
        return FailErrno("shutdown");
    }
    return {};
  }

  void HandleSignals() {
    while (const auto signal = signals_.Take()) {
      if (*signal == SIGWINCH) {
        TellSize();
      } else if (options_.forward_signal) {
        options_.forward_signal(*signal);
      } else {
        end_ = SessionEnd{SessionEnd::Reason::kSignal, *signal};
      }
    }
  }

  void TellSize() {
    if (!options_.raw || !options_.resize) return;
    if (const auto size = SizeOfTerminal(STDIN_FILENO)) options_.resize(*size);
  }

  UniqueFd socket_;
  std::string received_;
  SignalQueue& signals_;
  const SessionOptions& options_;
  DetachWatch detach_;
  StreamDemuxer demuxer_;
  std::vector<char> piece_;
  std::string pending_;  // typed, not yet sent
  bool input_ended_ = false;
  bool shut_down_ = false;
  std::optional<SessionEnd> end_;
};

}  // namespace

Result<> WriteFd(int fd, std::string_view data) { return WriteAll(FileOps::System(), fd, data); }

Result<SignalQueue> BlockSessionSignals() {
  return SignalQueue::Block({SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH});
}

Result<SessionEnd> RunSession(HttpExchange::Connection connection, SignalQueue& signals,
                              const SessionOptions& options) {
  std::optional<RawMode> raw;
  if (options.raw) {
    STRATA_TRY_ASSIGN(RawMode mode, RawMode::Enter(STDIN_FILENO));
    raw.emplace(std::move(mode));
  }
  Session session(std::move(connection), signals, options);
  return session.Run();
}

}  // namespace strata::manager::cli
