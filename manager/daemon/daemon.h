// The daemon: puts the services together, serves until SIGTERM or SIGINT.
#pragma once

#include "base/error.h"
#include "manager/daemon/options.h"

namespace strata::manager {

// Blocks. Running containers stay running when it returns. EBUSY: another daemon has the data root.
Result<> RunDaemon(const DaemonOptions& options);

// The version of this build.
const char* DaemonVersion();

}  // namespace strata::manager
