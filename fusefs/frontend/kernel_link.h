// What the engine asks of the kernel: backing files and forgetting cached attributes.
#pragma once

#include <atomic>

#include "fusefs/transport/transport.h"
#include "fusefs/union/engine.h"

struct fuse_session;

namespace strata::fusefs {

// Registers backing files on a transport's device. The first refusal for want of privilege ends it
// for good: every later Register() fails at once, and files are served through the page cache.
class DeviceBackingFiles final : public BackingFiles {
 public:
  explicit DeviceBackingFiles(const Transport& transport) : transport_(transport) {}

  Result<std::int32_t> Register(int fd) override;
  void Unregister(std::int32_t id) override;

 private:
  const Transport& transport_;
  std::atomic<bool> refused_ = false;
};

class SessionKernelCache final : public KernelCache {
 public:
  explicit SessionKernelCache(fuse_session* session) : session_(session) {}

  void InvalidateAttributes(NodeId node) override;

 private:
  fuse_session* session_;
};

}  // namespace strata::fusefs
