// Telling the kernel what will be synced soon.
#pragma once

#include <sys/types.h>

namespace strata {

// Has the kernel begin to write a range of a file to the disk, so that a later sync has less to
// wait for (sync_file_range(2) with SYNC_FILE_RANGE_WRITE). Only a hint, and no step of anything:
// it promises nothing, errors are those of the sync. That is why it is no call of FileOps.
void StartWriteback(int fd, off_t offset, off_t length);

}  // namespace strata
