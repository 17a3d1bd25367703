// The embedded default: with no host given and no daemon running, the client starts `stratad`
// itself.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "manager/cli/endpoint.h"

namespace strata::manager::cli {

// How to start the daemon that serves an endpoint.
struct DaemonLaunch {
  Endpoint endpoint;                   // always a unix socket
  std::vector<std::string> arguments;  // of stratad
  std::string log_path;                // its stdout and stderr go there
  std::string data_root;               // where it keeps its store
};

// Where this user's own daemon is: under $STRATA_ROOT if that is set; for root
// /run/strata/strata.sock; for others $XDG_RUNTIME_DIR/strata/strata.sock with the data root in
// $XDG_DATA_HOME/strata. EINVAL if the environment names no usable place.
Result<DaemonLaunch> DefaultDaemon();

// `name` beside this program, else as it is, for the PATH.
std::string ProgramBeside(const std::string& name);

// Starts `stratad`, found beside this program or on the PATH, detached from the terminal, and waits
// until it answers /_ping. Of several clients at once one starts it and the others wait for it.
// Error: ENOENT if there is no stratad, ECHILD if it ended at once (with the end of its log),
// ETIMEDOUT.
Result<> StartDaemon(const DaemonLaunch& launch);

}  // namespace strata::manager::cli
