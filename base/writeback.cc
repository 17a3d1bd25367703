#include "base/writeback.h"

#include <fcntl.h>

namespace strata {

void StartWriteback(int fd, off_t offset, off_t length) {
  // Not for every kind of file and filesystem; what went wrong with data, the sync tells.
  static_cast<void>(::sync_file_range(fd, offset, length, SYNC_FILE_RANGE_WRITE));
}

}  // namespace strata
