// What processes may do that depends on more than their user id.
#pragma once

#include <linux/capability.h>
#include <sys/types.h>

#include <optional>

#include "base/error.h"

namespace strata {

// The capability sets of one thread, by the kernel's CAP_ numbers. A value: Apply() gives the
// calling thread these.
class ThreadCapabilities {
 public:
  static Result<ThreadCapabilities> Get();
  // Another thread's, by its id in our PID namespace.
  static Result<ThreadCapabilities> Of(pid_t thread);
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

// Whether another thread has a capability in effect that counts in the initial user namespace
// (linux: capable()). Nothing if there is no such thread in our PID namespace.
std::optional<bool> HoldsGlobally(pid_t thread, unsigned capability);

// False where it cannot be told, as above.
bool HasSupplementaryGroup(pid_t thread, gid_t group);

}  // namespace strata
