// What keeps a copied-up file's name from reaching the disk before its data.
#pragma once

#include <cstdint>

namespace strata::fusefs {

// After a crash a copied-up file must be the old one or the whole new one, never an empty file with
// the right name. What that takes depends on the filesystem.
enum class DataOrder : std::uint8_t {
  kNone,      // nothing: a volatile upper
  kWriteOut,  // data written before the name is given; the filesystem's journal keeps that order
  kSync,      // fsync(2) before the name is given
};

// What the filesystem of `dir` takes. kWriteOut on ext4 with a journal and on XFS: both log a
// file's new size and block map before they end the writeback that FileOps::WriteOut() waits for,
// and log transactions in order, each after a flush of the disk's cache (linux: fs/ext4/page-io.c,
// fs/xfs/xfs_aops.c); so no commit holds the name without the data. kSync everywhere else.
DataOrder DataOrderOf(int dir);

}  // namespace strata::fusefs
