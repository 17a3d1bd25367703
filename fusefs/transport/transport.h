// How requests come from the kernel and replies go back. The session above knows only this
// interface, so that /dev/fuse and FUSE over io_uring can serve the same engine.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <span>

#include "base/error.h"

namespace strata::fusefs {

// Serves requests. Called by the transport's threads, several at once.
class RequestSink {
 public:
  virtual ~RequestSink() = default;
  // `request` is one whole request, fuse_in_header first; valid, and the callee's to scribble on,
  // during the call. `reply_space` is where the body of a reply sent by this thread during the call
  // needs not be copied from; it may be empty, and may be the memory of the request's data.
  virtual void Process(std::span<std::byte> request, std::span<std::byte> reply_space) noexcept = 0;
};

// One connection to the kernel. Thread-safe but for Start() and Stop(), which one thread calls.
class Transport {
 public:
  virtual ~Transport() = default;

  // Starts the threads that serve; `sink` must outlive Stop().
  virtual Result<> Start(RequestSink& sink) = 0;
  // Whether the handshake should offer the kernel FUSE over io_uring.
  virtual bool wants_uring() const noexcept = 0;
  // Called once, by a serving thread, when the reply to INIT has been sent; `over_uring` is what
  // was agreed on. An error means that there will be no requests.
  virtual Result<> HandshakeDone(bool over_uring) = 0;
  // Stops taking requests, lets those in work finish and joins the threads. Idempotent.
  virtual void Stop() noexcept = 0;

  // A descriptor that becomes readable once the connection is over: unmounted, aborted, or failed
  // (which is logged).
  virtual int ended() const noexcept = 0;
  // The connection's device, for ioctls on it.
  virtual int device() const noexcept = 0;

  // Sends a reply, or a notification, that starts with its fuse_out_header. Like writev(2): the
  // bytes sent, or -1 and errno; ENOENT if the request was interrupted meanwhile.
  virtual ssize_t Send(std::span<const iovec> message) noexcept = 0;
  // The same for a whole message that lies in a pipe; `flags` are splice(2)'s.
  virtual ssize_t SendFromPipe(int pipe, std::size_t length, unsigned flags) noexcept = 0;
};

}  // namespace strata::fusefs
