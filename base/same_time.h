// Points in time as stat(2) gives them.
#pragma once

#include <sys/stat.h>

namespace strata {

inline bool SameTime(const struct timespec& a, const struct timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

}  // namespace strata
