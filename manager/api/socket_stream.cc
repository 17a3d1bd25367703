#include "manager/api/socket_stream.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>

#include "base/try.h"

namespace strata::manager {

Result<> SocketStream::Await(short events, Timeout timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout.value_or(std::chrono::hours(1));
  for (;;) {
    int wait = -1;
    if (timeout) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          deadline - std::chrono::steady_clock::now());
      if (left.count() <= 0) return Fail(ETIMEDOUT, "socket");
      wait = static_cast<int>(left.count()) + 1;
    }
    std::array<pollfd, 2> fds{{{socket_, events, 0}, {stop_, POLLIN, 0}}};
    const int ready = ::poll(fds.data(), fds.size(), wait);
    if (ready == -1 && errno != EINTR) return FailErrno("poll");
    if (ready <= 0) continue;
    if (fds[1].revents != 0) return Fail(ECANCELED, "socket");
    return {};
  }
}

Result<std::size_t> SocketStream::ReadSome(std::span<char> into) {
  for (;;) {
    const ssize_t got = ::recv(socket_, into.data(), into.size(), 0);
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return FailErrno("recv");
    STRATA_TRY(Await(POLLIN, read_timeout_));
  }
}

Result<> SocketStream::WriteAll(std::string_view data) {
  while (!data.empty()) {
    const ssize_t sent = ::send(socket_, data.data(), data.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      data.remove_prefix(static_cast<std::size_t>(sent));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return FailErrno("send");
    STRATA_TRY(Await(POLLOUT, write_timeout_));
  }
  return {};
}

}  // namespace strata::manager
