// One request of the kernel and the one reply it gets.
#pragma once

#include <fcntl.h>
#include <sys/statvfs.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "fusefs/union/types.h"

struct fuse_req;

namespace strata::fusefs {

// Replies exactly once: a second reply is our bug (assert; ignored in release builds), a request
// that dies without one is answered with EIO and logged. Used by the thread that serves the
// request.
//
// The replies that hand something to the kernel (a node, an open file) return whether it arrived:
// it does not if the request was interrupted meanwhile, and then the caller takes it back.
class Request {
 public:
  // `operation` names the request in the log and must outlive it.
  Request(fuse_req* raw, const char* operation) noexcept : raw_(raw), operation_(operation) {}
  ~Request();
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  Caller caller() const noexcept;
  fuse_req* raw() const noexcept { return raw_; }  // nullptr once replied
  // Leaves the reply to the caller, who may give it later and from another thread.
  fuse_req* Defer() noexcept { return Take(); }

  void Fail(const Error& error) noexcept;
  // Answers "I don't do that; don't ask again" (ENOSYS).
  void NotImplemented() noexcept;
  void Done() noexcept;  // success, without a body
  void None() noexcept;  // for requests the kernel expects no reply to
  void Attr(const struct stat& attr, double timeout) noexcept;
  void Link(const std::string& target) noexcept;
  void Bytes(std::span<const std::byte> body) noexcept;
  void Bytes(std::string_view body) noexcept { Bytes(std::as_bytes(std::span(body))); }
  void File(int fd, off_t offset, std::size_t length) noexcept;  // file contents, spliced if long
  void Content(std::span<const ContentPart> parts) noexcept;     // the same, of several files
  void Written(std::size_t count) noexcept;
  void Statfs(const struct statvfs& info) noexcept;
  void XattrSize(std::size_t size) noexcept;
  void Offset(off_t offset) noexcept;
  void IoControl(std::span<const std::byte> out) noexcept;
  void Lock(const struct flock& lock) noexcept;
  // "No such name", which the kernel remembers.
  void Negative() noexcept;
  void OpenDirectory() noexcept;  // a directory the kernel may cache

  bool Entry(const EntryReply& entry) noexcept;
  // `flushed`: the kernel shall report each close(2) of it.
  bool Open(const OpenReply& open, bool flushed) noexcept;
  bool Create(const EntryReply& entry, const OpenReply& open, bool flushed) noexcept;
  bool Listing(std::span<const std::byte> entries) noexcept;

 private:
  // The raw request, to be replied to by the caller; nullptr if that has happened already.
  fuse_req* Take() noexcept;
  void FailWith(int code) noexcept;

  fuse_req* raw_;
  const char* operation_;
};

}  // namespace strata::fusefs
