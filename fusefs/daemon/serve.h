// One mount from start to end.
#pragma once

#include "base/error.h"
#include "fusefs/daemon/background.h"
#include "fusefs/daemon/options.h"

namespace strata::fusefs {

// Opens the layers, mounts, reports readiness, and serves until the mount is gone or SIGTERM,
// SIGINT or SIGHUP asks for its end; then unmounts. An error means that the mount never worked, or
// that it could not be taken down. Call it before there are threads; it blocks those signals.
Result<> Serve(Options options, StartReport& report);

// Engine::Finalize() on the layers of `options`; nothing is mounted. Gives a line that says what it
// did.
Result<std::string> Finalize(const Options& options);

}  // namespace strata::fusefs
