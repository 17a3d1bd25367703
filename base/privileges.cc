#include "base/privileges.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace strata {
namespace {

// include/uapi/linux/nsfs.h: USER_NS_INIT_INO, the fixed inode number of the initial namespace.
constexpr ino_t kInitialUserNamespace = 0xEFFFFFFD;

}  // namespace

Result<ThreadCapabilities> ThreadCapabilities::Get() {
  ThreadCapabilities now;
  if (::syscall(SYS_capget, &now.header_, now.data_) != 0) return FailErrno("capget");
  return now;
}

Result<> ThreadCapabilities::Apply() const {
  if (::syscall(SYS_capset, &header_, data_) != 0) return FailErrno("capset");
  return {};
}

bool HoldsGlobalAdmin() {
  struct stat user_namespace = {};
  if (::stat("/proc/self/ns/user", &user_namespace) != 0) return false;
  if (user_namespace.st_ino != kInitialUserNamespace) return false;
  const auto capabilities = ThreadCapabilities::Get();
  return capabilities && capabilities->Has(CAP_SYS_ADMIN);
}

}  // namespace strata
