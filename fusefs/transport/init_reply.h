// Completes the INIT handshake with what libfuse 3.14 cannot negotiate.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/error.h"

namespace strata::fusefs {

// The kernel's side of the handshake.
struct InitOffer {
  std::uint64_t unique = 0;  // names the request, and so its reply
  std::uint64_t flags = 0;   // FUSE_* INIT flags, `flags2` in the upper half
};

// What the handshake settled.
struct InitOutcome {
  bool passthrough = false;
  bool kill_privileges = false;    // FUSE_HANDLE_KILLPRIV_V2
  bool setxattr_extended = false;  // FUSE_SETXATTR_EXT
  bool over_uring = false;         // FUSE_OVER_IO_URING
};

// What is wanted beyond what libfuse asks for.
struct InitWishes {
  bool passthrough = false;
  bool over_uring = false;
};

// The offer, if `request` (header included) is an INIT request.
std::optional<InitOffer> ParseInitRequest(std::span<const std::byte> request);

// Adds to a fuse_init_out made by libfuse, in place: privilege killing by the server (also when an
// ACL is set), parallel directory operations and, if wanted, passthrough (never together with the
// writeback cache) and requests over io_uring - each only if the kernel offered it. EPROTO for a
// reply that is too short to be one.
Result<InitOutcome> CompleteInitReply(const InitOffer& offer, const InitWishes& wishes,
                                      std::span<std::byte> reply);

}  // namespace strata::fusefs
