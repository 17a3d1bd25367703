// What is done before anything is mounted: where to, and whether that fits the layers.
#pragma once

#include <string>

#include "base/error.h"
#include "fusefs/union/types.h"

namespace strata::fusefs {

// The mountpoint's absolute path without symbolic links. ENOENT or ENOTDIR if it is no directory;
// EINVAL if it is the root directory, or one of the layers or the work directory, or lies inside
// one of them: the union would hide or contain itself.
Result<std::string> CheckMountpoint(const std::string& mountpoint, const EngineOptions& layers);

// Moves the process, which has one thread yet, into a mount namespace: the path of one
// (/proc/PID/ns/mnt, or a file it is bound to) or the id of a process in it.
Result<> EnterMountNamespace(const std::string& name);

}  // namespace strata::fusefs
