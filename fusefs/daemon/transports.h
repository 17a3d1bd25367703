// Which transport a mount is served by.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/unique_fd.h"
#include "fusefs/transport/transport.h"

namespace strata::fusefs {

enum class TransportChoice : std::uint8_t {
  kDevice,  // /dev/fuse
  kUring,   // io_uring; the system's setting for it is switched on where it is off
  kAuto,    // io_uring where the system allows it already, else /dev/fuse
};

struct TransportOptions {
  TransportChoice choice = TransportChoice::kDevice;
  unsigned threads = 4;                           // DeviceTransport's or UringTransport's
  std::optional<std::chrono::microseconds> spin;  // unset: what suits the transport
};

// Whether io_uring will be used; to be asked before mounting, where a refusal still leaves no mount
// behind. Errors: see EnableUring().
Result<bool> DecideOnUring(TransportChoice choice);

// `device` is a mounted /dev/fuse.
Result<std::unique_ptr<Transport>> MakeTransport(bool uring, UniqueFd device,
                                                 const TransportOptions& options);

}  // namespace strata::fusefs
