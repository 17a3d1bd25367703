// Carries bytes between a client that took its connection over and a container's streams.
#pragma once

#include <string>

#include "base/error.h"

namespace strata::manager {

class Exchange;

struct BridgeOptions {
  bool tty = false;  // raw bytes; else frames of stdcopy
  bool want_stdin = false;
  bool want_stdout = true;
  bool want_stderr = true;
  std::string pending;  // what the client sent already
};

// stdcopy: 8 bytes (stream 1 or 2, three zeros, length big endian), then the data.
std::string Frame(char stream, std::string_view data);

// Returns when the container's side ends, the client is gone, or the server stops. `stream` is the
// monitor's socket (runtime/monitor.h). The client's half-close becomes stdin's end of file.
Result<> Bridge(Exchange& exchange, int stream, BridgeOptions options);

}  // namespace strata::manager
