// The client half of HTTP/1.1 (RFC 9112), as much as talking to the daemon needs: one request per
// connection, any body framing, and taking the connection over after an upgrade.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"

namespace strata::manager::cli {

struct HttpRequest {
  std::string method = "GET";
  std::string target;  // path and query, already escaped
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::string content_type;  // of `body`; with it set an empty body is sent as such
  bool upgrade = false;      // ask for the connection itself ("Upgrade: tcp")
  // Instead of `body`: called until it returns an empty string, sent in chunks.
  std::function<Result<std::string>()> body_source;
};

struct HttpHead {
  int status = 0;
  std::string reason;
  std::vector<std::pair<std::string, std::string>> headers;

  // The first header of that name, compared without regard to case; "" if there is none.
  std::string_view Header(std::string_view name) const;
};

// One exchange on one connection. Send() first, then ReadHead(), then either Read() to the end of
// the body or TakeOver(). Blocking; not thread-safe. Errors: the socket's errno, EPROTO for an
// answer that is not HTTP, ECONNRESET for one that ends too early.
class HttpExchange {
 public:
  explicit HttpExchange(UniqueFd socket) : socket_(std::move(socket)) {}

  // If the daemon answers before the whole body is sent (an error, mostly), sending stops and the
  // answer can be read.
  Result<> Send(const HttpRequest& request, std::string_view host);
  Result<> ReadHead();
  const HttpHead& head() const { return head_; }

  // At least one byte of the body, 0 at its end.
  Result<std::size_t> Read(std::span<char> buffer);
  // The rest of the body; EFBIG beyond `limit`.
  Result<std::string> ReadAll(std::size_t limit);

  // The raw connection and what was already received after the head.
  struct Connection {
    UniqueFd socket;
    std::string received;
  };
  Connection TakeOver() &&;

  // For poll(2), which need not be asked while HasBuffered().
  int fd() const { return socket_.get(); }
  bool HasBuffered() const { return taken_ < buffer_.size(); }

 private:
  enum class Framing { kNone, kLength, kChunked, kUntilClose };

  Result<> WriteAll(std::string_view data);
  Result<> SendChunks(const HttpRequest& request);
  Result<std::size_t> Fill();  // reads once more from the socket; 0 at its end
  Result<std::string> ReadLine();
  Result<> ParseHead(std::string_view status_line);
  Result<> ChooseFraming();
  Result<> NextChunk();
  Result<std::size_t> ReadRaw(std::span<char> buffer);

  UniqueFd socket_;
  std::string buffer_;
  std::size_t taken_ = 0;  // of buffer_
  HttpHead head_;
  bool head_request_ = false;
  Framing framing_ = Framing::kNone;
  std::uint64_t left_ = 0;  // of the body, or of the current chunk
  bool first_chunk_ = true;
  bool done_ = false;
};

// Percent-encoding of everything but RFC 3986's unreserved characters and those in `keep`.
std::string PercentEncode(std::string_view text, std::string_view keep = "");

// "?a=1&b=2" from pairs, encoded; pairs with an empty value are left out.
std::string Query(std::initializer_list<std::pair<std::string_view, std::string>> pairs);

}  // namespace strata::manager::cli
