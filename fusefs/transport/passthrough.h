// Backing files of FUSE passthrough: the two ioctls. Registering takes HoldsGlobalAdmin(); whether
// the kernel has passthrough at all, INIT tells.
#pragma once

#include <cstdint>

#include "base/error.h"

namespace strata::fusefs {

// FUSE_DEV_IOC_BACKING_OPEN on the connection `device`: an id (> 0) for the open file `file`, which
// may be closed afterwards. The ioctl's errno otherwise, ELOOP for a file on a stacked filesystem.
Result<std::int32_t> OpenBackingFile(int device, int file);
// FUSE_DEV_IOC_BACKING_CLOSE.
Result<> CloseBackingFile(int device, std::int32_t id);

}  // namespace strata::fusefs
