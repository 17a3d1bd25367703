// A fixed number of threads working through a list.
#pragma once

#include <cstddef>
#include <functional>

#include "base/cancellation.h"
#include "base/error.h"

namespace strata {

// Calls work(0) … work(count - 1), started in this order, in up to `threads` threads, and returns
// when all have ended. The first failure is returned; with it `stop` is canceled, which `work` must
// heed, and nothing new is started. ECANCELED if `stop` was canceled from outside.
Result<> ForEachInParallel(std::size_t count, std::size_t threads, Cancellation& stop,
                           const std::function<Result<>(std::size_t)>& work);

}  // namespace strata
