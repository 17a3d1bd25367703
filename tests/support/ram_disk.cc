#include "tests/support/ram_disk.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/try.h"
#include "base/unique_fd.h"
#include "tests/support/process.h"

namespace strata::support {

Result<std::string> MountRamDisk(const TempRoot& root, int mebibytes) {
  STRATA_TRY_ASSIGN(const std::string memory, root.MakeDir("ram"));
  STRATA_TRY_ASSIGN(const std::string disk, root.MakeDir("disk"));
  if (::mount("tmpfs", memory.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=700") != 0) {
    return FailErrno("mount", memory);
  }
  const std::string image = memory + "/image";
  {
    const UniqueFd fd(::open(image.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd) return FailErrno("open", image);
    if (::ftruncate(fd.get(), static_cast<off_t>(mebibytes) << 20) != 0) {
      return FailErrno("ftruncate", image);
    }
  }
  // 256-byte inodes hold birth times; without a journal an fsync is only the file's own blocks.
  STRATA_TRY(RunTool(
      {"mkfs.ext4", "-q", "-I", "256", "-b", "4096", "-N", "65536", "-O", "^has_journal", image}));
  STRATA_TRY(RunTool({"mount", "-o", "loop", image, disk}));
  return disk;
}

}  // namespace strata::support
