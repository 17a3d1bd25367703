#include "base/affinity.h"

#include <sched.h>
#include <unistd.h>

#include "base/error.h"

namespace strata {

void PinThread(unsigned cpu) {
  if (cpu >= CPU_SETSIZE) return;
  cpu_set_t only;
  CPU_ZERO(&only);
  CPU_SET(cpu, &only);
  if (::sched_setaffinity(0, sizeof only, &only) != 0) {
    Ignore(FailErrno("sched_setaffinity"), "the processor is offline or not for us");
  }
}

void UnpinThread() {
  cpu_set_t all;
  if (::sched_getaffinity(::getpid(), sizeof all, &all) != 0 ||
      ::sched_setaffinity(0, sizeof all, &all) != 0) {
    Ignore(FailErrno("sched_setaffinity"), "the thread works, only not where it could");
  }
}

}  // namespace strata
