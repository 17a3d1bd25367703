// The request a thread is serving, as the kernel wrote it: libfuse 3.14 does not hand on every
// field.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace strata::fusefs {

// Names `request` as the calling thread's current one for its own lifetime.
class RawRequestScope {
 public:
  explicit RawRequestScope(std::span<const std::byte> request) noexcept;
  ~RawRequestScope();
  RawRequestScope(const RawRequestScope&) = delete;
  RawRequestScope& operator=(const RawRequestScope&) = delete;
};

// True if the calling thread's current request is a WRITE or an OPEN with which the kernel asks for
// setuid, setgid and file capabilities to be cleared (FUSE_HANDLE_KILLPRIV_V2).
bool CurrentRequestKillsPrivileges() noexcept;

}  // namespace strata::fusefs
