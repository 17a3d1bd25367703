#include "base/inode_flags.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

namespace strata {

Result<struct timespec> BirthTime(int fd) {
  struct statx info = {};
  if (::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BTIME, &info) != 0) {
    return FailErrno("statx");
  }
  if ((info.stx_mask & STATX_BTIME) == 0) return Fail(ENODATA, "statx");
  return timespec{.tv_sec = info.stx_btime.tv_sec, .tv_nsec = info.stx_btime.tv_nsec};
}

Result<> InodeFlagsCall(int fd, unsigned command, std::span<std::byte> argument) {
  if (::ioctl(fd, command, argument.data()) != 0) return FailErrno("ioctl");
  return {};
}

}  // namespace strata
