// A user at a container's standard streams: one loop that carries bytes both ways over a taken-over
// connection until the container ends its output, the user detaches, or a signal ends it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/error.h"
#include "manager/cli/http.h"
#include "manager/cli/terminal.h"

namespace strata::manager::cli {

struct SessionOptions {
  bool framed = false;      // output is framed (stdcopy.h)
  bool send_stdin = false;  // else the container gets no input from here
  bool raw = false;         // this terminal goes into raw mode; detach keys are watched for
  std::string detach_keys;
  // Told the terminal's size at the start and at every change, if `raw`.
  std::function<void(WindowSize)> resize;
  // Gets the signals of `signals`; without it they end the session.
  std::function<void(int)> forward_signal;
};

struct SessionEnd {
  enum class Reason : std::uint8_t { kOutputEnded, kDetached, kSignal };
  Reason reason = Reason::kOutputEnded;
  int signal = 0;
};

// The signals a session wants blocked; block them before the container is started, so that none is
// lost.
Result<SignalQueue> BlockSessionSignals();

// Standard input, output and error of this process are the user's side. Standard input's end is
// passed on as a half-close.
Result<SessionEnd> RunSession(HttpExchange::Connection connection, SignalQueue& signals,
                              const SessionOptions& options);

// Writes everything; for standard output and error.
Result<> WriteFd(int fd, std::string_view data);

}  // namespace strata::manager::cli
