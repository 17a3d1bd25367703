#include "base/privileges.h"

#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace strata {
namespace {

// include/uapi/linux/nsfs.h: USER_NS_INIT_INO, the fixed inode number of the initial namespace.
constexpr ino_t kInitialUserNamespace = 0xEFFFFFFD;

}  // namespace

bool HoldsGlobalAdmin() {
  struct stat user_namespace = {};
  if (::stat("/proc/self/ns/user", &user_namespace) != 0) return false;
  if (user_namespace.st_ino != kInitialUserNamespace) return false;
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, data) != 0) return false;
  return (data[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective & CAP_TO_MASK(CAP_SYS_ADMIN)) != 0;
}

}  // namespace strata
