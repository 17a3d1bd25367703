#include "base/io_priority.h"

#include <sys/syscall.h>
#include <unistd.h>

namespace strata {

Result<> SetIoPriority(IoPriority priority) {
  constexpr int kProcess = 1;  // IOPRIO_WHO_PROCESS, which means a thread
  if (::syscall(SYS_ioprio_set, kProcess, 0, static_cast<int>(priority)) == -1) {
    return FailErrno("ioprio_set");
  }
  return {};
}

}  // namespace strata
