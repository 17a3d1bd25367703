// Leaving the disk to others.
#pragma once

#include "base/error.h"

namespace strata {

// When a thread's reads and writes are served, beside those of others. The values are the kernel's
// (linux/ioprio.h, which of some releases is no C++): its class in the upper bits, the level below.
enum class IoPriority : int {
  kLowest = (2 << 13) | 7,  // last of the ordinary ones
  kIdle = 3 << 13,          // when nobody else wants anything
};

// Of the calling thread (ioprio_set(2)).
Result<> SetIoPriority(IoPriority priority);

}  // namespace strata
