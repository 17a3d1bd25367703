#include "base/writeback.h"

#include <fcntl.h>

namespace strata {
namespace {

constexpr off_t kPiece = off_t{512} << 10U;

}  // namespace

void EarlyWriteback::Reached(int fd, off_t end) {
  if (end - started_ < kPiece) return;
  // Not for every kind of file and filesystem; what went wrong with data, the sync tells.
  static_cast<void>(::sync_file_range(fd, started_, end - started_, SYNC_FILE_RANGE_WRITE));
  started_ = end;
}

}  // namespace strata
