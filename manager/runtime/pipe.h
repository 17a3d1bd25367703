// Internal to this folder.
#pragma once

#include "base/error.h"
#include "base/unique_fd.h"

namespace strata::manager {

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

// pipe2(2), close-on-exec.
Result<Pipe> MakePipe();

}  // namespace strata::manager
