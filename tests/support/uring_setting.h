// The system's setting for FUSE over io_uring, for tests that use it.
#pragma once

#include <utility>

#include "base/error.h"
#include "base/unique_fd.h"

namespace strata::support {

// What tests print and ctest takes for a skip where the kernel has no FUSE over io_uring.
inline constexpr const char* kNoUring = "SKIP: the kernel has no FUSE over io_uring";
bool KernelHasUring();

// Keeps the setting on for its own lifetime. The last holder of all test processes puts back what
// the first one found. Move-only.
class UringSetting {
 public:
  static Result<UringSetting> Hold();
  UringSetting(UringSetting&&) = default;
  UringSetting& operator=(UringSetting&&) = default;
  ~UringSetting();

 private:
  explicit UringSetting(UniqueFd holders) : holders_(std::move(holders)) {}
  UniqueFd holders_;  // locked by all of them; the file holds what is to be put back
};

}  // namespace strata::support
