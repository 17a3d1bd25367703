// One FUSE session: libfuse's request decoder between a transport and an engine.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>

#include "base/error.h"
#include "fusefs/frontend/kernel_link.h"
#include "fusefs/transport/init_reply.h"
#include "fusefs/transport/transport.h"
#include "fusefs/union/engine.h"

struct fuse_session;

namespace strata::fusefs {

struct SessionOptions {
  bool passthrough = true;  // negotiate it if the kernel and our privileges allow
  bool writeback = false;   // the kernel's writeback cache; rules out passthrough
  bool locks = true;        // file locks kept here; else by the kernel, by node
  bool opens = true;        // as EngineOptions::opens; without, no passthrough and no locks here
  bool acl = true;          // POSIX ACLs, kept and enforced by the kernel
  // Called once, by a serving thread, when the kernel has accepted the handshake (nullptr) or it
  // has failed.
  std::function<void(const Error* failure)> on_ready;
};

// Serves the requests of `transport` from `engine`, which it connects to the kernel during the
// handshake. Both must outlive it. Thread-safe.
class Session final : public RequestSink {
 public:
  // ENOMEM/EIO if libfuse cannot be set up.
  static Result<std::unique_ptr<Session>> Create(Engine& engine, Transport& transport,
                                                 SessionOptions options);
  ~Session() override;

  void Process(std::span<std::byte> request, std::span<std::byte> reply_space) noexcept override;

 private:
  struct Hooks;     // libfuse's callbacks
  struct UserData;  // what libfuse hands to them

  Session(Engine& engine, Transport& transport, SessionOptions options);
  // Puts libfuse behind `user_data_`.
  Result<> SetUp();
  ssize_t Send(std::span<const iovec> message);
  // Sees every reply before it goes out until INIT's, which it completes; the handshake's outcome
  // if it was that.
  std::optional<Result<InitOutcome>> CompleteHandshake(std::span<const iovec> message);

  Engine& engine_;
  Transport& transport_;
  const SessionOptions options_;
  std::unique_ptr<UserData> user_data_;
  fuse_session* session_ = nullptr;
  DeviceBackingFiles backing_;
  std::unique_ptr<SessionKernelCache> cache_;
  std::optional<InitOffer> offer_;  // written before, read while INIT is answered, by one thread
  std::atomic<bool> ready_ = false;
  std::atomic<bool> setxattr_extended_ = false;
};

}  // namespace strata::fusefs
