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
  // `setxattr_extended`: a SETXATTR comes in the long form, which libfuse 3.14 cannot read; it is
  // brought into the short one.
  RawRequestScope(std::span<std::byte> request, bool setxattr_extended) noexcept;
  ~RawRequestScope();
  RawRequestScope(const RawRequestScope&) = delete;
  RawRequestScope& operator=(const RawRequestScope&) = delete;

  // As it is to be decoded.
  std::span<std::byte> request() const { return request_; }

 private:
  std::span<std::byte> request_;
};

// True if the calling thread's current request is a WRITE or an OPEN with which the kernel asks for
// setuid, setgid and file capabilities to be cleared (FUSE_HANDLE_KILLPRIV_V2).
bool CurrentRequestKillsPrivileges() noexcept;
// True if it is a SETXATTR of an ACL whose caller may not keep setgid
// (FUSE_SETXATTR_ACL_KILL_SGID).
bool CurrentRequestKillsSetgid() noexcept;

}  // namespace strata::fusefs
