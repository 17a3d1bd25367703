#include "fusefs/union/data_order.h"

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include <filesystem>
#include <string>
#include <system_error>

namespace strata::fusefs {
namespace {

namespace fs = std::filesystem;

// The kernel lists the journals of mounted filesystems as /proc/fs/jbd2/<block device>-<inode>.
bool HasJournal(dev_t device) {
  std::error_code error;
  const fs::path link = fs::read_symlink(
      "/sys/dev/block/" + std::to_string(major(device)) + ":" + std::to_string(minor(device)),
      error);
  if (error) return false;
  const std::string prefix = link.filename().string() + "-";
  fs::directory_iterator journals("/proc/fs/jbd2", error);
  for (; !error && journals != fs::directory_iterator(); journals.increment(error)) {
    if (journals->path().filename().string().starts_with(prefix)) return true;
  }
  return false;
}

}  // namespace

DataOrder DataOrderOf(int dir) {
  struct statfs filesystem{};
  struct stat st{};
  if (::fstatfs(dir, &filesystem) != 0 || ::fstat(dir, &st) != 0) return DataOrder::kSync;
  if (filesystem.f_type == XFS_SUPER_MAGIC) return DataOrder::kWriteOut;
  if (filesystem.f_type == EXT4_SUPER_MAGIC && HasJournal(st.st_dev)) return DataOrder::kWriteOut;
  return DataOrder::kSync;
}

}  // namespace strata::fusefs
