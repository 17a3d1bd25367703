// Checks a mountpoint against the layers before anything is mounted.
#pragma once

#include <string>

#include "base/error.h"
#include "fusefs/union/types.h"

namespace strata::fusefs {

// The mountpoint's absolute path without symbolic links. ENOENT or ENOTDIR if it is no directory;
// EINVAL if it is one of the layers or the work directory or lies inside one: the union would hide
// or contain itself.
Result<std::string> CheckMountpoint(const std::string& mountpoint, const EngineOptions& layers);

}  // namespace strata::fusefs
