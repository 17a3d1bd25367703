#include "manager/api/attach_bridge.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>

#include "base/try.h"
#include "manager/api/exchange.h"
#include "manager/runtime/monitor.h"

namespace strata::manager {
namespace {

class Pump {
 public:
  Pump(Exchange& exchange, int stream, BridgeOptions options)
      : exchange_(exchange), stream_(stream), options_(std::move(options)) {
    input_ = std::move(options_.pending);
    if (!options_.want_stdin) input_.clear();
  }

  Result<> Run() {
    for (;;) {
      // The client is read only when its last bytes are on their way: it feels the back-pressure.
      const bool read_client = !client_ended_ && input_.empty();
      const bool write_stream = !input_.empty();
      std::array<pollfd, 3> fds{
          {{exchange_.socket(), static_cast<short>(read_client ? POLLIN : 0), 0},
           {stream_, static_cast<short>(POLLIN | (write_stream ? POLLOUT : 0)), 0},
           {exchange_.stop_fd(), POLLIN, 0}}};
      if (::poll(fds.data(), fds.size(), -1) == -1) {
        if (errno == EINTR) continue;
        return FailErrno("poll");
      }
      if (fds[2].revents != 0) return {};
      if ((fds[0].revents & (POLLERR | POLLHUP)) != 0 && !read_client) return {};
      if (fds[0].revents != 0 && read_client) {
        STRATA_TRY(ReadClient());
      }
      if ((fds[1].revents & POLLOUT) != 0) STRATA_TRY(WriteStream());
      if ((fds[1].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
        STRATA_TRY_ASSIGN(const bool more, ReadStream());
        if (!more) return {};
      }
    }
  }

 private:
  Result<> ReadClient() {
    std::array<char, kAttachPacketMax> buffer;
    const ssize_t got = ::recv(exchange_.socket(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got == -1) {
      if (errno == EAGAIN || errno == EINTR) return {};
      return FailErrno("recv");
    }
    if (got == 0) {
      client_ended_ = true;
      if (options_.want_stdin) ::shutdown(stream_, SHUT_WR);
      return {};
    }
    if (options_.want_stdin) input_.assign(buffer.data(), static_cast<std::size_t>(got));
    return {};
  }

  Result<> WriteStream() {
    const std::size_t size = std::min(input_.size(), kAttachPacketMax);
    const ssize_t sent = ::send(stream_, input_.data(), size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent == -1) {
      if (errno == EAGAIN || errno == EINTR) return {};
      // The process closed its stdin: what the client still sends has no reader.
      options_.want_stdin = false;
      input_.clear();
      return {};
    }
    input_.erase(0, static_cast<std::size_t>(sent));
    return {};
  }

  // False at the end of the container's output.
  Result<bool> ReadStream() {
    std::array<char, kAttachPacketMax + 1> packet;
    const ssize_t got = ::recv(stream_, packet.data(), packet.size(), MSG_DONTWAIT);
    if (got == -1 && (errno == EAGAIN || errno == EINTR)) return true;
    if (got <= 0) return false;
    const bool is_stderr = packet[0] == kAttachStderr;
    const std::string_view data(packet.data() + 1, static_cast<std::size_t>(got) - 1);
    if (data.empty() || (is_stderr ? !options_.want_stderr : !options_.want_stdout)) return true;
    if (options_.tty) {
      STRATA_TRY(exchange_.SendRaw(data));
    } else {
      STRATA_TRY(exchange_.SendRaw(Frame(is_stderr ? 2 : 1, data)));
    }
    return true;
  }

  Exchange& exchange_;
  int stream_;
  BridgeOptions options_;
  std::string input_;
  bool client_ended_ = false;
};

}  // namespace

std::string Frame(char stream, std::string_view data) {
  const auto size = static_cast<std::uint32_t>(data.size());
  std::string frame{stream, 0, 0, 0};
  for (const unsigned shift : {24U, 16U, 8U, 0U}) {
    frame.push_back(static_cast<char>((size >> shift) & 0xFFU));
  }
  frame.append(data);
  return frame;
}

Result<> Bridge(Exchange& exchange, int stream, BridgeOptions options) {
  return Pump(exchange, stream, std::move(options)).Run();
}

}  // namespace strata::manager
