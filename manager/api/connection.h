// One client connection: reads requests, hands them to a handler, one after the other. HTTP/1.1
// parsing is Boost.Beast's.
#pragma once

#include <functional>
#include <string>

#include "base/unique_fd.h"

namespace strata::manager {

class Exchange;

struct ConnectionLimits {
  std::size_t header_bytes = std::size_t{64} * 1024;
  int head_seconds = 30;    // for a request's head, once its first byte is there
  int idle_seconds = 900;   // between requests
  int body_seconds = 300;   // without progress
  int write_seconds = 120;  // without progress, for answers that are not streams
};

// Runs until the client closes, breaks the protocol, or `stop_fd` becomes readable. `handle` must
// answer the exchange; it may block. Never throws.
void ServeConnection(UniqueFd socket, int stop_fd, const ConnectionLimits& limits,
                     const std::function<void(Exchange&)>& handle) noexcept;

// The value of the Server header, "Docker/0.1.0 (linux)".
std::string ServerHeader();

}  // namespace strata::manager
