// What an archive for the daemon is read from.
#pragma once

#include <functional>
#include <string>

#include "base/error.h"

namespace strata::manager::cli {

// The next bytes; empty at the end.
using ByteSource = std::function<Result<std::string>()>;

// A file, a directory that is an OCI image layout (as a tar), or for "-" standard input. EINVAL for
// another directory.
Result<ByteSource> OpenArchive(const std::string& path);

}  // namespace strata::manager::cli
