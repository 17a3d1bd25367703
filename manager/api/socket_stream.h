// Blocking reads and writes on a connection's socket, with time limits, that end when the server
// stops.
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string_view>

#include "base/error.h"
#include "base/unique_fd.h"

namespace strata::manager {

// Owned by its connection's thread. ECANCELED: the server is stopping; ETIMEDOUT; ECONNRESET and
// EPIPE: the peer is gone.
class SocketStream {
 public:
  using Timeout = std::optional<std::chrono::milliseconds>;  // nothing: no limit

  // `socket` is non-blocking; `stop_fd` becomes readable when the server stops. Both are borrowed.
  SocketStream(int socket, int stop_fd) : socket_(socket), stop_(stop_fd) {}

  int fd() const { return socket_; }
  int stop_fd() const { return stop_; }
  void set_read_timeout(Timeout timeout) { read_timeout_ = timeout; }
  void set_write_timeout(Timeout timeout) { write_timeout_ = timeout; }

  // 0 at the end of the peer's data.
  Result<std::size_t> ReadSome(std::span<char> into);
  Result<> WriteAll(std::string_view data);

 private:
  Result<> Await(short events, Timeout timeout);

  int socket_;
  int stop_;
  Timeout read_timeout_;
  Timeout write_timeout_;
};

}  // namespace strata::manager
