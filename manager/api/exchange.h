// One request and its answer, as handlers see it.
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "manager/api/http_request.h"

namespace strata::manager {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

// Used by the connection's thread alone. A handler answers exactly once: Reply(), or Begin() and
// any number of Send(), or Hijack().
class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual const HttpRequest& request() const = 0;

  // The whole body. EFBIG beyond `limit`; EINVAL if the client sent garbage.
  virtual Result<std::string> ReadBody(std::size_t limit) = 0;
  // The next bytes of the body; 0 at its end.
  virtual Result<std::size_t> ReadSome(std::span<std::byte> into) = 0;

  virtual Result<> Reply(int status, std::string_view content_type, std::string_view body,
                         const HttpHeaders& headers = {}) = 0;

  // Starts an answer of unknown length and sends its head at once.
  virtual Result<> Begin(int status, std::string_view content_type) = 0;
  virtual Result<> Send(std::string_view data) = 0;
  // What was begun cannot be finished: the connection ends in a way that tells the client.
  virtual void Abandon() = 0;

  // Takes the connection over for raw bytes, after a head with this content type. Returns what the
  // client had already sent after its request.
  virtual Result<std::string> Hijack(std::string_view content_type) = 0;
  // The socket, for poll(2), and for raw reads after Hijack().
  virtual int socket() const = 0;
  // Raw bytes after Hijack().
  virtual Result<> SendRaw(std::string_view data) = 0;

  // Readable when the server stops.
  virtual int stop_fd() const = 0;
  virtual bool answered() const = 0;

  // Waits until one of `fds` is readable: true. False: the client hung up, the server stops, or
  // `timeout` (negative: none) is over. After Hijack() a half-close is the end of the client's
  // input, not of its interest: only a full close counts.
  bool AwaitReadable(std::span<const int> fds, std::chrono::milliseconds timeout) const;
  virtual bool hijacked() const = 0;
};

}  // namespace strata::manager
