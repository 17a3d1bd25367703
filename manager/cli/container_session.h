// Being attached to a container or to a program in it, from before its start to its exit status.
#pragma once

#include <functional>
#include <string>

#include "base/error.h"
#include "manager/cli/client.h"
#include "manager/cli/session.h"

namespace strata::manager::cli {

inline constexpr std::string_view kDefaultDetachKeys = "ctrl-p,ctrl-q";

struct AttachOptions {
  bool tty = false;  // the container has a terminal
  bool send_stdin = false;
  bool proxy_signals = true;  // without a terminal, signals go to the container
  std::string detach_keys;    // as bytes
  std::string wait_condition = "next-exit";
  // What starts the container once everything is attached; empty if it runs already.
  std::function<Result<>()> start;
};

// Attaches, starts, carries the streams, waits. The container's exit status; 0 when detached; 128 +
// N when signal N ended this client.
Result<int> AttachUntilExit(Client& client, const std::string& id, const AttachOptions& options);

// Carries the streams of an exec until it ends; its exit status likewise.
Result<int> ExecUntilExit(Client& client, const std::string& exec_id, const AttachOptions& options);

// Whether this process's terminal is to be put into raw mode. EINVAL if the container's terminal
// wants input and standard input is none.
Result<bool> WantsRawMode(const AttachOptions& options);

// 127 if the daemon's words say that the program was not found, 126 if that it cannot be run, else
// 125.
int StatusOfStartFailure(std::string_view message);

}  // namespace strata::manager::cli
