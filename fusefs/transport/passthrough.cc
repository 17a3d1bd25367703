#include "fusefs/transport/passthrough.h"

#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fusefs/transport/wire.h"

namespace strata::fusefs {
namespace {

// include/uapi/linux/nsfs.h: USER_NS_INIT_INO, the fixed inode number of the initial namespace.
constexpr ino_t kInitialUserNamespace = 0xEFFFFFFD;

bool HasEffectiveSysAdmin() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, data) != 0) return false;
  return (data[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective & CAP_TO_MASK(CAP_SYS_ADMIN)) != 0;
}

}  // namespace

bool MayRegisterBackingFiles() {
  struct stat user_namespace = {};
  if (::stat("/proc/self/ns/user", &user_namespace) != 0) return false;
  return user_namespace.st_ino == kInitialUserNamespace && HasEffectiveSysAdmin();
}

Result<std::int32_t> OpenBackingFile(int device, int file) {
  wire::BackingMap map{.fd = file, .flags = 0, .padding = 0};
  const int id = ::ioctl(device, wire::kBackingOpen, &map);
  if (id < 0) return FailErrno("FUSE_DEV_IOC_BACKING_OPEN");
  if (id == 0) return Fail(EIO, "FUSE_DEV_IOC_BACKING_OPEN");
  return id;
}

Result<> CloseBackingFile(int device, std::int32_t id) {
  auto number = static_cast<std::uint32_t>(id);
  if (::ioctl(device, wire::kBackingClose, &number) != 0) {
    return FailErrno("FUSE_DEV_IOC_BACKING_CLOSE");
  }
  return {};
}

}  // namespace strata::fusefs
