// The request a thread is serving, as the kernel wrote it: libfuse 3.14 does not hand on every
// field, nor where the transport would like the reply.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace strata::fusefs {

// Names `request` as the calling thread's current one for its own lifetime. Scopes nest: a reply
// may lead to another request being served before the first one is done with.
class RawRequestScope {
 public:
  // `setxattr_extended`: a SETXATTR comes in the long form, which libfuse 3.14 cannot read; it is
  // brought into the short one. A TMPFILE, which libfuse does not know, becomes a CREATE.
  // `reply_space`: as for RequestSink::Process().
  RawRequestScope(std::span<std::byte> request, std::span<std::byte> reply_space,
                  bool setxattr_extended) noexcept;
  ~RawRequestScope();
  RawRequestScope(const RawRequestScope&) = delete;
  RawRequestScope& operator=(const RawRequestScope&) = delete;

  // As it is to be decoded.
  std::span<std::byte> request() const { return request_; }

  // What is known of one request beside libfuse.
  struct Context {
    std::span<const std::byte> request;
    std::span<std::byte> reply_space;
    std::uint32_t setxattr_flags = 0;
    bool tmpfile = false;
  };

 private:
  const Context outer_;
  std::span<std::byte> request_;
};

// Memory from which the reply to the calling thread's current request is sent without a copy; empty
// if there is none.
std::span<std::byte> CurrentReplySpace() noexcept;

// True if the calling thread's current request is a WRITE or an OPEN with which the kernel asks for
// setuid, setgid and file capabilities to be cleared (FUSE_HANDLE_KILLPRIV_V2).
bool CurrentRequestKillsPrivileges() noexcept;
// True if it is a SETXATTR of an ACL whose caller may not keep setgid
// (FUSE_SETXATTR_ACL_KILL_SGID).
bool CurrentRequestKillsSetgid() noexcept;

// True if what looks like a CREATE is a TMPFILE: the file gets no name.
bool CurrentRequestIsTmpfile() noexcept;

}  // namespace strata::fusefs
