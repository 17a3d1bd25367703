// HTTP and HTTPS as the registry client needs it: one call, one exchange, streamed both ways.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/cancellation.h"
#include "base/error.h"

namespace strata::manager {

struct WebHeader {
  std::string name;
  std::string value;
};

struct WebResponse {
  int status = 0;
  std::string url;  // the one that answered, after redirects
  std::vector<WebHeader> headers;
  std::string body;  // everything, unless a sink took it

  // The first header of that name (case-insensitive), "" if there is none.
  std::string_view Header(std::string_view name) const;
  std::vector<std::string_view> Headers(std::string_view name) const;
  bool ok() const { return status >= 200 && status < 300; }
};

// A request body that is read where it lies. `read` fills the buffer from that offset and returns
// the bytes filled; 0 before `length` bytes were read is an error.
struct WebUpload {
  std::uint64_t length = 0;
  std::function<Result<std::size_t>(std::uint64_t offset, std::span<std::byte> buffer)> read;
};

struct WebRequest {
  std::string method = "GET";
  std::string url;
  std::vector<WebHeader> headers;  // without Authorization
  std::string authorization;       // sent to the URL's own origin only, not where it redirects to
  std::string body;
  std::optional<WebUpload> upload;  // instead of `body`
  // Receives the body of a 2xx answer piece by piece, on the calling thread; its error ends the
  // exchange and is returned. Bodies of other answers land in WebResponse::body.
  std::function<Result<>(const WebResponse& head, std::string_view piece)> sink;
  std::size_t body_limit = 1U << 20U;          // bytes WebResponse::body may have; EFBIG beyond
  std::chrono::milliseconds total_timeout{0};  // 0: none
  std::chrono::milliseconds stall_timeout{0};  // 0: the client's
  bool use_redirects = true;                   // else a 3xx answer is returned as it is
};

struct WebOptions {
  std::chrono::milliseconds connect_timeout{15'000};
  // An exchange that moves fewer than `stall_bytes` in this time ends with ETIMEDOUT. Time spent
  // in a sink or an upload's source does not count.
  std::chrono::milliseconds stall_timeout{30'000};
  std::uint64_t stall_bytes = 512;
  int redirect_limit = 8;
  std::string user_agent;
  std::string ca_file;  // PEM, instead of the system's certificates
  // "host" or "host:port" whose certificates are not checked and that may speak plain http.
  std::vector<std::string> insecure_hosts;
};

// Thread-safe: exchanges run in parallel and share connections. Proxies come from the environment
// (https_proxy, no_proxy, ...) as curl(1) reads them. Plain http is spoken with loopback hosts and
// `insecure_hosts` only, redirects included.
//
// Errors: ECANCELED; ETIMEDOUT (stall, total or connect); EHOSTUNREACH (name not found);
// ECONNREFUSED and other errnos of connect(2); ECONNRESET (connection dropped, body cut short);
// EPROTO (TLS or HTTP not understood, certificate not trusted); EACCES (plain http refused);
// ELOOP (too many redirects); EFBIG; EINVAL (bad URL). The detail names the host.
class WebClient {
 public:
  // `cancel` may be null; it is looked at at least once a second.
  WebClient(WebOptions options, const Cancellation* cancel);
  ~WebClient();
  WebClient(const WebClient&) = delete;
  WebClient& operator=(const WebClient&) = delete;

  // Any status is a success here: what it means is the caller's business.
  Result<WebResponse> Perform(const WebRequest& request);

  // Whether credentials and requests may go there in the clear.
  bool PlainHttpAllowed(std::string_view url) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace strata::manager
