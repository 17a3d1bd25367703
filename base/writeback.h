// Telling the kernel what will be synced soon.
#pragma once

#include <sys/types.h>

namespace strata {

// Has the kernel write a file to the disk while more of it comes in, so that the sync that follows
// has less to wait for (sync_file_range(2) with SYNC_FILE_RANGE_WRITE). Only a hint, and no step of
// anything: it promises nothing, errors are those of the sync. That is why it is no call of
// FileOps. Not thread-safe.
class EarlyWriteback {
 public:
  // The file, always the same, is written from its start up to here.
  void Reached(int fd, off_t end);

 private:
  off_t started_ = 0;  // up to here the kernel was told
};

}  // namespace strata
