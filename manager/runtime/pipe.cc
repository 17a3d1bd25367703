#include "manager/runtime/pipe.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>

namespace strata::manager {

Result<Pipe> MakePipe() {
  std::array<int, 2> fds{};
  if (::pipe2(fds.data(), O_CLOEXEC) == -1) return FailErrno("pipe2");
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

}  // namespace strata::manager
