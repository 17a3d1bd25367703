// The seam between our code and the kernel's file system calls. The union engine and the layer
// store reach files only through it, so that tests can fail, count or crash any single step
// (base/fault_file_ops.h).
#pragma once

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"

namespace strata {

// One name of a directory as getdents64(2) gives it, without "." and "..".
struct DirEntry {
  std::string name;
  ino_t ino = 0;
  unsigned char type = 0;  // DT_*; DT_UNKNOWN where the filesystem does not say
};

// Every call is the system call of the same name; `dir` may be AT_FDCWD, descriptors are borrowed,
// the error's code is its errno. Calls restart on EINTR. Close-on-exec is always set.
// Implementations are thread-safe.
class FileOps {
 public:
  virtual ~FileOps() = default;

  // The real system calls. Lives as long as the process.
  static FileOps& System();

  virtual Result<UniqueFd> Open(int dir, const char* path, int flags, mode_t mode = 0) = 0;
  // openat2(2): `resolve` is RESOLVE_*; for paths from outside the program.
  virtual Result<UniqueFd> OpenConfined(int dir, const char* path, int flags, mode_t mode,
                                        std::uint64_t resolve) = 0;
  virtual Result<struct stat> Stat(int fd) = 0;
  virtual Result<struct stat> StatAt(int dir, const char* path,
                                     int flags = AT_SYMLINK_NOFOLLOW) = 0;
  virtual Result<struct statvfs> StatVfs(int fd) = 0;
  virtual Result<std::string> ReadLink(int dir, const char* path) = 0;
  // Calls `each` for every entry but "." and ".."; the name is valid during the call only.
  // Reads from the descriptor's position to the end. `each` returning false stops early.
  virtual Result<> ReadDir(
      int fd,
      const std::function<bool(std::string_view name, ino_t ino, unsigned char type)>& each) = 0;

  // Return the bytes done: fewer than asked at end of file or when a write comes up short.
  virtual Result<std::size_t> ReadAt(int fd, std::span<std::byte> buffer, off_t offset) = 0;
  virtual Result<std::size_t> WriteAt(int fd, std::span<const std::byte> data, off_t offset) = 0;
  virtual Result<std::size_t> Read(int fd, std::span<std::byte> buffer) = 0;
  virtual Result<std::size_t> Write(int fd, std::span<const std::byte> data) = 0;
  virtual Result<std::size_t> CopyRange(int in, off_t in_offset, int out, off_t out_offset,
                                        std::size_t length) = 0;
  // ioctl(2) FICLONE: `to` shares all blocks of `from` and has its size. EOPNOTSUPP, EXDEV or
  // EINVAL where the filesystem cannot.
  virtual Result<> Clone(int from, int to) = 0;
  virtual Result<off_t> Seek(int fd, off_t offset, int whence) = 0;
  virtual Result<> Truncate(int fd, off_t size) = 0;
  virtual Result<> TruncatePath(const char* path, off_t size) = 0;
  virtual Result<> Allocate(int fd, int mode, off_t offset, off_t length) = 0;
  virtual Result<> Sync(int fd) = 0;            // fsync(2)
  virtual Result<> SyncData(int fd) = 0;        // fdatasync(2)
  virtual Result<> SyncFilesystem(int fd) = 0;  // syncfs(2)
  // sync_file_range(2) over the whole file, waiting: its data is with the disk, but neither the
  // metadata that leads to it nor the disk's own cache is flushed.
  virtual Result<> WriteOut(int fd) = 0;

  virtual Result<> MakeDir(int dir, const char* path, mode_t mode) = 0;
  virtual Result<> MakeNode(int dir, const char* path, mode_t mode, dev_t dev) = 0;
  virtual Result<> SymLink(const char* target, int dir, const char* path) = 0;
  virtual Result<> Link(int from_dir, const char* from, int to_dir, const char* to,
                        int flags = 0) = 0;
  virtual Result<> Unlink(int dir, const char* path, int flags = 0) = 0;
  virtual Result<> Rename(int from_dir, const char* from, int to_dir, const char* to,
                          unsigned flags = 0) = 0;

  // `flags` are AT_SYMLINK_NOFOLLOW or AT_EMPTY_PATH.
  virtual Result<> ChownAt(int dir, const char* path, uid_t uid, gid_t gid, int flags) = 0;
  virtual Result<> Chown(int fd, uid_t uid, gid_t gid) = 0;
  // fchmodat2(2), never following a symbolic link; an empty path means `dir` itself. Falls back to
  // O_PATH and /proc where the kernel lacks it.
  virtual Result<> ChmodAt(int dir, const char* path, mode_t mode) = 0;
  virtual Result<> Chmod(int fd, mode_t mode) = 0;
  virtual Result<> UtimesAt(int dir, const char* path, const struct timespec times[2],
                            int flags) = 0;
  virtual Result<> Utimes(int fd, const struct timespec times[2]) = 0;

  // Extended attributes by descriptor; O_PATH descriptors work too (through /proc/self/fd).
  virtual Result<std::string> GetXattr(int fd, const char* name) = 0;
  // Of dir/name, which is not followed if it is a symbolic link.
  virtual Result<std::string> GetXattrAt(int dir, const char* name, const char* attribute) = 0;
  virtual Result<> SetXattr(int fd, const char* name, std::string_view value, int flags = 0) = 0;
  virtual Result<> RemoveXattr(int fd, const char* name) = 0;
  virtual Result<std::vector<std::string>> ListXattr(int fd) = 0;
  // Of dir/name, which is not followed if it is a symbolic link.
  virtual Result<std::vector<std::string>> ListXattrAt(int dir, const char* name) = 0;
};

// Bytes that st_blocks counts in.
inline constexpr off_t kStatBlock = 512;

// All names in a directory, wherever the descriptor stands; it stands at the end afterwards.
Result<std::vector<std::string>> NamesIn(FileOps& ops, int dir);
// Loops over WriteAt until everything is written; ENOSPC for a write that makes no progress.
Result<> WriteAllAt(FileOps& ops, int fd, std::span<const std::byte> data, off_t offset);
// The same at the file position.
Result<> WriteAll(FileOps& ops, int fd, std::string_view data);
// The rest of a file, up to `limit` bytes; EFBIG beyond.
Result<std::string> ReadAll(FileOps& ops, int fd, std::size_t limit);
// "/proc/self/fd/N": names the very object a descriptor holds, O_PATH ones included.
std::string ProcFdPath(int fd);

}  // namespace strata
