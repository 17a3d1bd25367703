// What this process may do that depends on more than its user id.
#pragma once

#include <linux/capability.h>

#include "base/error.h"

namespace strata {

// The capability sets of one thread, by the kernel's CAP_ numbers. A value: Apply() gives the
// calling thread these.
class ThreadCapabilities {
 public:
  static Result<ThreadCapabilities> Get();
  bool Has(unsigned capability) const {
    return (data_[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability)) != 0;
  }
  // Not in effect any more, but permitted.
  ThreadCapabilities Without(unsigned capability) const {
    ThreadCapabilities fewer = *this;
    fewer.data_[CAP_TO_INDEX(capability)].effective &= ~CAP_TO_MASK(capability);
    return fewer;
  }
  Result<> Apply() const;

 private:
  ThreadCapabilities() = default;

  __user_cap_header_struct header_{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data_[_LINUX_CAPABILITY_U32S_3] = {};
};

// True with CAP_SYS_ADMIN in the initial user namespace: what trusted.* xattrs, open_tree(2) clones
// and FUSE passthrough take (linux: fs/xattr.c, fs/fuse/backing.c). False where it cannot be told.
bool HoldsGlobalAdmin();

}  // namespace strata
