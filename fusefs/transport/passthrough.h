// Backing files of FUSE passthrough: the two ioctls, and whether this process may use them.
#pragma once

#include <cstdint>

#include "base/error.h"

namespace strata::fusefs {

// True if the process has CAP_SYS_ADMIN in the initial user namespace, which the kernel asks of
// whoever registers a backing file. Whether the kernel has passthrough at all, INIT tells.
bool MayRegisterBackingFiles();

// FUSE_DEV_IOC_BACKING_OPEN on the connection `device`: an id (> 0) for the open file `file`, which
// may be closed afterwards. The ioctl's errno otherwise, ELOOP for a file on a stacked filesystem.
Result<std::int32_t> OpenBackingFile(int device, int file);
// FUSE_DEV_IOC_BACKING_CLOSE.
Result<> CloseBackingFile(int device, std::int32_t id);

}  // namespace strata::fusefs
