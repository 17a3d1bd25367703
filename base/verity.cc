#include "base/verity.h"

#include <fcntl.h>
#include <linux/fsverity.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

namespace strata {

Result<> EnableVerity(int fd) {
  constexpr unsigned kBlock = 4096;
  struct fsverity_enable_arg argument = {};
  argument.version = 1;
  argument.hash_algorithm = FS_VERITY_HASH_ALG_SHA256;
  argument.block_size = kBlock;
  // A signal ends it with nothing done.
  int done = 0;
  do {
    done = ::ioctl(fd, FS_IOC_ENABLE_VERITY, &argument);
  } while (done != 0 && errno == EINTR);
  if (done != 0) return FailErrno("enable verity");
  return {};
}

Result<bool> HasVerity(int dir, const char* name) {
  struct statx info = {};
  if (::statx(dir, name, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE,
              &info) != 0) {
    return FailErrno("statx", name);
  }
  return (info.stx_attributes & STATX_ATTR_VERITY) != 0;
}

bool IsDamage(int code) {
  switch (code) {
    case EIO:
    case EUCLEAN:   // ext4, btrfs: what leads to the data is wrong
    case EBADMSG:   // a checksum
    case EMSGSIZE:  // verity's own record of the file, as EINVAL
    case EINVAL:
      return true;
    default:
      return false;
  }
}

}  // namespace strata
