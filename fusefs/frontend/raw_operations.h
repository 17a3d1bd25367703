// The requests that libfuse 3.14 knows nothing of: decoded and answered here.
#pragma once

#include <cstddef>
#include <span>

#include "fusefs/transport/transport.h"
#include "fusefs/union/engine.h"

namespace strata::fusefs {

// Serves `request` if it is one of them (STATX); false if it is for libfuse.
bool ServeRaw(Engine& engine, Transport& transport, std::span<const std::byte> request) noexcept;

}  // namespace strata::fusefs
