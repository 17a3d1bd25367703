#include "base/file_ops.h"

#include <dirent.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <memory>

#include "base/try.h"

namespace strata {
namespace {

#ifndef SYS_fchmodat2
constexpr long kSysFchmodat2 = 452;  // linux/arch/x86/entry/syscalls/syscall_64.tbl, since 6.6
#else
constexpr long kSysFchmodat2 = SYS_fchmodat2;
#endif

constexpr std::size_t kXattrSizeMax = 65536;  // linux/limits.h: XATTR_SIZE_MAX and XATTR_LIST_MAX

template <class Call>
auto Retry(Call call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

template <class Call>
Result<> Check(const char* op, Call call) {
  if (Retry(call) == -1) return FailErrno(op);
  return {};
}

template <class Call>
Result<std::size_t> CheckSize(const char* op, Call call) {
  const auto result = Retry(call);
  if (result == -1) return FailErrno(op);
  return static_cast<std::size_t>(result);
}

// linux/dirent.h's linux_dirent64, which glibc does not export.
struct Dirent64 {
  std::uint64_t ino;
  std::int64_t offset;
  std::uint16_t record_length;
  unsigned char type;
  char name[1];
};

class SystemFileOps final : public FileOps {
 public:
  Result<UniqueFd> Open(int dir, const char* path, int flags, mode_t mode) override {
    const int fd = Retry([&] { return ::openat(dir, path, flags | O_CLOEXEC, mode); });
    if (fd == -1) return FailErrno("openat");
    return UniqueFd(fd);
  }

  Result<UniqueFd> OpenConfined(int dir, const char* path, int flags, mode_t mode,
                                std::uint64_t resolve) override {
    open_how how{};
    how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
    how.mode = mode;
    how.resolve = resolve;
    long fd = -1;
    do {
      // EAGAIN: a rename raced with the check for "..", see openat2(2).
      fd = Retry([&] { return ::syscall(SYS_openat2, dir, path, &how, sizeof how); });
    } while (fd == -1 && errno == EAGAIN);
    if (fd == -1) return FailErrno("openat2");
    return UniqueFd(static_cast<int>(fd));
  }

  Result<struct stat> Stat(int fd) override {
    struct stat st;
    if (::fstat(fd, &st) == -1) return FailErrno("fstat");
    return st;
  }

  Result<struct stat> StatAt(int dir, const char* path, int flags) override {
    struct stat st;
    if (::fstatat(dir, path, &st, flags) == -1) return FailErrno("fstatat");
    return st;
  }

  Result<struct statvfs> StatVfs(int fd) override {
    struct statvfs st;
    if (Retry([&] { return ::fstatvfs(fd, &st); }) == -1) return FailErrno("fstatvfs");
    return st;
  }

  Result<std::string> ReadLink(int dir, const char* path) override {
    std::array<char, 4096> buffer;
    const ssize_t length = ::readlinkat(dir, path, buffer.data(), buffer.size());
    if (length == -1) return FailErrno("readlinkat");
    return std::string(buffer.data(), static_cast<std::size_t>(length));
  }

  Result<> ReadDir(
      int fd, const std::function<bool(std::string_view, ino_t, unsigned char)>& each) override {
    constexpr std::size_t kBufferSize = std::size_t{64} * 1024;
    const auto buffer = std::make_unique_for_overwrite<char[]>(kBufferSize);
    for (;;) {
      const long got =
          Retry([&] { return ::syscall(SYS_getdents64, fd, buffer.get(), kBufferSize); });
      if (got == -1) return FailErrno("getdents64");
      if (got == 0) return {};
      for (long at = 0; at < got;) {
        const auto* entry = reinterpret_cast<const Dirent64*>(buffer.get() + at);
        const std::string_view name(entry->name);
        at += entry->record_length;
        if (name == "." || name == "..") continue;
        if (!each(name, entry->ino, entry->type)) return {};
      }
    }
  }

  Result<std::size_t> ReadAt(int fd, std::span<std::byte> buffer, off_t offset) override {
    return CheckSize("pread", [&] { return ::pread(fd, buffer.data(), buffer.size(), offset); });
  }
  Result<std::size_t> WriteAt(int fd, std::span<const std::byte> data, off_t offset) override {
    return CheckSize("pwrite", [&] { return ::pwrite(fd, data.data(), data.size(), offset); });
  }
  Result<std::size_t> Read(int fd, std::span<std::byte> buffer) override {
    return CheckSize("read", [&] { return ::read(fd, buffer.data(), buffer.size()); });
  }
  Result<std::size_t> Write(int fd, std::span<const std::byte> data) override {
    return CheckSize("write", [&] { return ::write(fd, data.data(), data.size()); });
  }
  Result<std::size_t> CopyRange(int in, off_t in_offset, int out, off_t out_offset,
                                std::size_t length) override {
    return CheckSize("copy_file_range", [&] {
      return ::copy_file_range(in, &in_offset, out, &out_offset, length, 0);
    });
  }
  Result<> Clone(int from, int to) override {
    return Check("ioctl FICLONE", [&] { return ::ioctl(to, FICLONE, from); });
  }

  Result<off_t> Seek(int fd, off_t offset, int whence) override {
    const off_t result = ::lseek(fd, offset, whence);
    if (result == -1) return FailErrno("lseek");
    return result;
  }
  Result<> Truncate(int fd, off_t size) override {
    return Check("ftruncate", [&] { return ::ftruncate(fd, size); });
  }
  Result<> TruncatePath(const char* path, off_t size) override {
    return Check("truncate", [&] { return ::truncate(path, size); });
  }
  Result<> Allocate(int fd, int mode, off_t offset, off_t length) override {
    return Check("fallocate", [&] { return ::fallocate(fd, mode, offset, length); });
  }
  Result<> Sync(int fd) override {
    return Check("fsync", [&] { return ::fsync(fd); });
  }
  Result<> SyncData(int fd) override {
    return Check("fdatasync", [&] { return ::fdatasync(fd); });
  }
  Result<> SyncFilesystem(int fd) override {
    return Check("syncfs", [&] { return ::syncfs(fd); });
  }
  Result<> WriteOut(int fd) override {
    constexpr unsigned kWriteAndWait =
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    return Check("sync_file_range", [&] { return ::sync_file_range(fd, 0, 0, kWriteAndWait); });
  }

  Result<> MakeDir(int dir, const char* path, mode_t mode) override {
    return Check("mkdirat", [&] { return ::mkdirat(dir, path, mode); });
  }
  Result<> MakeNode(int dir, const char* path, mode_t mode, dev_t dev) override {
    return Check("mknodat", [&] { return ::mknodat(dir, path, mode, dev); });
  }
  Result<> SymLink(const char* target, int dir, const char* path) override {
    return Check("symlinkat", [&] { return ::symlinkat(target, dir, path); });
  }
  Result<> Link(int from_dir, const char* from, int to_dir, const char* to, int flags) override {
    return Check("linkat", [&] { return ::linkat(from_dir, from, to_dir, to, flags); });
  }
  Result<> Unlink(int dir, const char* path, int flags) override {
    return Check("unlinkat", [&] { return ::unlinkat(dir, path, flags); });
  }
  Result<> Rename(int from_dir, const char* from, int to_dir, const char* to,
                  unsigned flags) override {
    return Check("renameat2", [&] { return ::renameat2(from_dir, from, to_dir, to, flags); });
  }

  Result<> ChownAt(int dir, const char* path, uid_t uid, gid_t gid, int flags) override {
    return Check("fchownat", [&] { return ::fchownat(dir, path, uid, gid, flags); });
  }
  Result<> Chown(int fd, uid_t uid, gid_t gid) override {
    return Check("fchown", [&] { return ::fchown(fd, uid, gid); });
  }
  Result<> ChmodAt(int dir, const char* path, mode_t mode) override {
    const int flags = path[0] == '\0' ? AT_EMPTY_PATH : AT_SYMLINK_NOFOLLOW;
    if (::syscall(kSysFchmodat2, dir, path, mode, flags) == 0) return {};
    if (errno != ENOSYS) return FailErrno("fchmodat2");
    if (path[0] == '\0') {
      return Check("chmod", [&] { return ::chmod(ProcFdPath(dir).c_str(), mode); });
    }
    auto fd = Open(dir, path, O_PATH | O_NOFOLLOW, 0);
    if (!fd) return std::unexpected(std::move(fd).error());
    return Check("chmod", [&] { return ::chmod(ProcFdPath(fd->get()).c_str(), mode); });
  }
  Result<> Chmod(int fd, mode_t mode) override {
    return Check("fchmod", [&] { return ::fchmod(fd, mode); });
  }
  Result<> UtimesAt(int dir, const char* path, const struct timespec times[2], int flags) override {
    return Check("utimensat", [&] { return ::utimensat(dir, path, times, flags); });
  }
  Result<> Utimes(int fd, const struct timespec times[2]) override {
    return Check("futimens", [&] { return ::futimens(fd, times); });
  }

  // fsetxattr(2) and its kin refuse O_PATH descriptors; the /proc link reaches the same object,
  // symbolic links included, and costs one lookup.
  Result<std::string> GetXattr(int fd, const char* name) override {
    std::string value(256, '\0');
    std::string path;  // set once the descriptor turns out to be an O_PATH one
    for (;;) {
      const ssize_t got = path.empty() ? ::fgetxattr(fd, name, value.data(), value.size())
                                       : ::getxattr(path.c_str(), name, value.data(), value.size());
      if (got >= 0) {
        value.resize(static_cast<std::size_t>(got));
        return value;
      }
      if (errno == EBADF && path.empty()) {
        path = ProcFdPath(fd);
        continue;
      }
      if (errno != ERANGE || value.size() >= kXattrSizeMax) return FailErrno("getxattr");
      value.resize(kXattrSizeMax);
    }
  }
  Result<std::string> GetXattrAt(int dir, const char* name, const char* attribute) override {
    const std::string path = ProcFdPath(dir) + "/" + name;
    std::string value(256, '\0');
    for (;;) {
      const ssize_t got = ::lgetxattr(path.c_str(), attribute, value.data(), value.size());
      if (got >= 0) {
        value.resize(static_cast<std::size_t>(got));
        return value;
      }
      if (errno != ERANGE || value.size() >= kXattrSizeMax) return FailErrno("lgetxattr");
      value.resize(kXattrSizeMax);
    }
  }
  Result<> SetXattr(int fd, const char* name, std::string_view value, int flags) override {
    auto set = Check("fsetxattr",
                     [&] { return ::fsetxattr(fd, name, value.data(), value.size(), flags); });
    if (set || set.error().code() != EBADF) return set;
    const std::string path = ProcFdPath(fd);  // O_PATH
    return Check("setxattr",
                 [&] { return ::setxattr(path.c_str(), name, value.data(), value.size(), flags); });
  }
  Result<> RemoveXattr(int fd, const char* name) override {
    const std::string path = ProcFdPath(fd);
    return Check("removexattr", [&] { return ::removexattr(path.c_str(), name); });
  }
  Result<std::vector<std::string>> ListXattr(int fd) override {
    return ListNames([&](std::span<char> list) {
      const ssize_t got = ::flistxattr(fd, list.data(), list.size());
      if (got != -1 || errno != EBADF) return got;
      return ::listxattr(ProcFdPath(fd).c_str(), list.data(), list.size());  // O_PATH
    });
  }
  Result<std::vector<std::string>> ListXattrAt(int dir, const char* name) override {
    const std::string path = ProcFdPath(dir) + "/" + name;
    return ListNames(
        [&](std::span<char> list) { return ::llistxattr(path.c_str(), list.data(), list.size()); });
  }

 private:
  // `fetch` is listxattr(2) in one of its forms.
  template <class Fetch>
  static Result<std::vector<std::string>> ListNames(Fetch fetch) {
    // Most lists are empty or short.
    std::array<char, 1024> small;
    std::string large;
    std::span<char> list(small);
    ssize_t got = fetch(list);
    if (got == -1 && errno == ERANGE) {
      large.resize(kXattrSizeMax);
      list = large;
      got = fetch(list);
    }
    if (got == -1) return FailErrno("listxattr");
    std::vector<std::string> names;
    std::string_view rest(list.data(), static_cast<std::size_t>(got));
    while (!rest.empty()) {
      const std::size_t end = rest.find('\0');
      names.emplace_back(rest.substr(0, end));
      rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    }
    return names;
  }
};

}  // namespace

FileOps& FileOps::System() {
  static SystemFileOps ops;
  return ops;
}

std::string ProcFdPath(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

Result<std::vector<std::string>> NamesIn(FileOps& ops, int dir) {
  std::vector<std::string> names;
  STRATA_TRY(ops.Seek(dir, 0, SEEK_SET));
  STRATA_TRY(ops.ReadDir(dir, [&](std::string_view name, ino_t, unsigned char) {
    names.emplace_back(name);
    return true;
  }));
  return names;
}

Result<> WriteAllAt(FileOps& ops, int fd, std::span<const std::byte> data, off_t offset) {
  while (!data.empty()) {
    auto done = ops.WriteAt(fd, data, offset);
    if (!done) return std::unexpected(std::move(done).error());
    if (*done == 0) return Fail(ENOSPC, "pwrite");
    data = data.subspan(*done);
    offset += static_cast<off_t>(*done);
  }
  return {};
}

Result<> WriteAll(FileOps& ops, int fd, std::string_view data) {
  auto rest = std::as_bytes(std::span(data));
  while (!rest.empty()) {
    auto done = ops.Write(fd, rest);
    if (!done) return std::unexpected(std::move(done).error());
    if (*done == 0) return Fail(ENOSPC, "write");
    rest = rest.subspan(*done);
  }
  return {};
}

Result<std::string> ReadAll(FileOps& ops, int fd, std::size_t limit) {
  constexpr std::size_t kChunk = std::size_t{64} * 1024;
  std::string data;
  for (;;) {
    const std::size_t before = data.size();
    data.resize(before + kChunk);
    auto got = ops.Read(fd, std::as_writable_bytes(std::span(data).subspan(before)));
    if (!got) return std::unexpected(std::move(got).error());
    data.resize(before + *got);
    if (data.size() > limit) return Fail(EFBIG, "read");
    if (*got == 0) return data;
  }
}

}  // namespace strata
