// Mounting: from a directory to a connected /dev/fuse, and back.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"

namespace strata::fusefs {

struct MountOptions {
  std::string mountpoint;           // absolute
  std::string source = "stratafs";  // what /proc/mounts shows first
  bool read_only = false;
  unsigned long flags = 0;         // more MS_*: MS_NOSUID, MS_NODEV, MS_NOEXEC, ...
  bool allow_other = false;        // let other users in
  std::vector<std::string> extra;  // filesystem-specific options passed on as they are: context=...
};

// One mount. Move-only. Does not unmount when destroyed: that can fail, and so is asked for.
class Mount {
 public:
  // Mounts as `fuse.stratafs` with default_permissions. Uses mount(2) where that is permitted
  // (root, or CAP_SYS_ADMIN in a user namespace of its own), else the setuid helper fusermount3.
  // Errors: ENODEV without FUSE in the kernel, EPERM/EACCES with the helper's own words in the
  // detail.
  static Result<Mount> Create(const MountOptions& options);

  // The connection; to be taken once.
  UniqueFd TakeDevice() { return std::move(device_); }
  const std::string& mountpoint() const { return mountpoint_; }

  // Whether it is still at its mountpoint.
  bool Attached() const;

  enum class Unmounted : std::uint8_t {
    kGone,  // nobody used it, or it had been unmounted before
    kBusy,  // detached from the tree, still in use by somebody
  };
  // Takes the mount off the tree. Requests must still be served meanwhile: the kernel writes back
  // what is dirty. A mount that is no longer ours at the mountpoint is left alone.
  Result<Unmounted> Remove();

 private:
  Mount(UniqueFd device, std::string mountpoint, bool by_helper);

  UniqueFd device_;
  std::string mountpoint_;
  bool by_helper_;
  std::uint64_t mount_id_ = 0;  // statx's stx_mnt_id; 0 if the kernel does not tell
};

}  // namespace strata::fusefs
