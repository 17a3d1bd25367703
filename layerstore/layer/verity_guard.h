// Has the kernel guard the files of a layer (fs-verity), where the filesystem can.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/error.h"
#include "base/file_ops.h"

namespace strata::layerstore {

// Which files of a layer are guarded, if any can be.
enum class Verity : std::uint8_t {
  kAuto,  // those from kGuardedBytes on
  kAll,   // all that are not empty
  kOff,
};

// With hashes of their own, small files would take twice their room on ext4, and each waits for the
// disk. Those from here on are few and have nearly all of the bytes.
inline constexpr std::int64_t kGuardedBytes = std::int64_t{64} << 10U;

// Thread-safe.
class VerityGuard {
 public:
  explicit VerityGuard(Verity setting) : setting_(setting) {}

  // For a layer that is written and not yet published: its files, and the recipe last, if all
  // others that should be are. Files of other layers that came before are left as they are. Nothing
  // where the filesystem can not, which is asked once. ETXTBSY: somebody keeps a file open for
  // writing.
  Result<> Guard(FileOps& ops, int layer_dir);

 private:
  enum class Support : std::uint8_t { kUnknown, kNone, kThere };
  Result<bool> Works(FileOps& ops, int layer_dir);

  const Verity setting_;
  std::atomic<Support> support_ = Support::kUnknown;
};

// Whether the layer was made with all its files of kGuardedBytes and more guarded.
Result<bool> IsGuarded(int layer_dir);

}  // namespace strata::layerstore
