#include "tests/property/executor.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "base/file_ops.h"
#include "base/path.h"
#include "tests/property/layer_builder.h"

namespace strata::property {
namespace {

Outcome Returned(std::int64_t value) {
  Outcome outcome;
  outcome.value = value;
  if (value < 0) outcome.error = errno;
  return outcome;
}

Outcome Failed(int code) {
  Outcome outcome;
  outcome.value = -1;
  outcome.error = code;
  return outcome;
}

// Acts as another user for a while; file capabilities go with the effective uid. The raw calls
// change this thread only.
class ActAs {
 public:
  explicit ActAs(uid_t id) : active_(id != 0) {
    if (!active_) return;
    ::syscall(SYS_setresgid, -1, id, -1);
    ::syscall(SYS_setresuid, -1, id, -1);
  }
  ~ActAs() {
    if (!active_) return;
    ::syscall(SYS_setresuid, -1, 0, -1);
    ::syscall(SYS_setresgid, -1, 0, -1);
  }
  ActAs(const ActAs&) = delete;
  ActAs& operator=(const ActAs&) = delete;

 private:
  const bool active_;
};

std::string BytesOf(const Operation& op) {
  return PatternBytes(op.seed, static_cast<std::size_t>(op.b));
}

Outcome ReadBytes(int fd, std::int64_t length, std::optional<off_t> offset) {
  Outcome outcome;
  outcome.data.resize(static_cast<std::size_t>(length));
  const ssize_t n = offset ? ::pread(fd, outcome.data.data(), outcome.data.size(), *offset)
                           : ::read(fd, outcome.data.data(), outcome.data.size());
  if (n < 0) return Returned(n);
  outcome.value = n;
  outcome.data.resize(static_cast<std::size_t>(n));
  return outcome;
}

// Mapped access stops at the end of the file: beyond it is SIGBUS.
Outcome Map(int fd, const Operation& op) {
  struct stat st;
  if (::fstat(fd, &st) != 0) return Returned(-1);
  if (!S_ISREG(st.st_mode)) return Failed(ENODEV);
  const bool write = op.kind == OpKind::kMapWrite;
  const off_t from = write ? std::min<off_t>(op.a, st.st_size) : 0;
  const off_t length = std::min<off_t>(op.b, st.st_size - from);
  if (length <= 0) return Returned(0);
  void* const map = ::mmap(nullptr, static_cast<std::size_t>(from + length),
                           write ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) return Returned(-1);
  char* const bytes = static_cast<char*>(map) + from;
  Outcome outcome;
  if (write) {
    std::ranges::copy(PatternBytes(op.seed, static_cast<std::size_t>(length)), bytes);
    if (::msync(map, static_cast<std::size_t>(from + length), MS_SYNC) != 0) outcome = Returned(-1);
  }
  if (outcome.error == 0) {
    outcome.value = length;
    outcome.data.assign(bytes, static_cast<std::size_t>(length));
  }
  ::munmap(map, static_cast<std::size_t>(from + length));
  return outcome;
}

// Loops, since either side may copy less at a time.
Outcome CopyRange(int from, int to, const Operation& op) {
  off_t in = op.a;
  off_t out = op.seed;
  std::int64_t total = 0;
  while (total < op.b) {
    const ssize_t n =
        ::copy_file_range(from, &in, to, &out, static_cast<std::size_t>(op.b - total), 0);
    if (n < 0) return Returned(n);
    if (n == 0) break;
    total += n;
  }
  return Returned(total);
}

Outcome Stat(int base, const char* path, int flags) {
  struct stat st;
  if (::fstatat(base, path, &st, flags) != 0) return Returned(-1);
  Outcome outcome;
  outcome.stat = st;
  return outcome;
}

uid_t Id(std::int64_t value) { return static_cast<uid_t>(value); }

struct Times {
  struct timespec pair[2];
};

Times TimesOf(const Operation& op) {
  if (op.a < 0) return {{{0, UTIME_NOW}, {0, UTIME_NOW}}};
  const timespec t = {op.a / 1'000'000'000, op.a % 1'000'000'000};
  return {{t, t}};
}

// "/proc/self/fd/N/name": extended attribute calls have no *at form.
std::string ProcPath(int base, const std::string& path) { return JoinPath(ProcFdPath(base), path); }

}  // namespace

Result<Executor> Executor::Open(const std::string& root, bool lenient_listing) {
  Executor executor;
  executor.lenient_listing_ = lenient_listing;
  executor.root_.reset(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!executor.root_) return FailErrno("open", root);
  return executor;
}

int Executor::Base(const Operation& op) const {
  return op.base == 0 ? root_.get() : slots_[op.base - 1].get();
}

void Executor::CloseAll() {
  for (UniqueFd& slot : slots_) slot.reset();
}

Outcome Executor::Run(const Operation& op) {
  if (op.kind == OpKind::kClose) {
    const int open = slots_[op.slot].get();
    CloseSlot(op.slot);
    return open >= 0 ? Returned(0) : Failed(EBADF);
  }
  const ActAs user(op.as);
  return RunAsCaller(op);
}

Outcome Executor::RunAsCaller(const Operation& op) {
  switch (op.kind) {
    case OpKind::kOpen:
      return RunOpen(op);
    case OpKind::kRead:
    case OpKind::kReadNext:
    case OpKind::kWrite:
    case OpKind::kWriteNext:
    case OpKind::kMapRead:
    case OpKind::kMapWrite:
    case OpKind::kFTruncate:
    case OpKind::kFallocate:
    case OpKind::kSeek:
    case OpKind::kCopyRange:
    case OpKind::kFsync:
    case OpKind::kReadDirOpen:
      return RunOnData(op, slot(op.slot));
    case OpKind::kFStat:
    case OpKind::kFChmod:
    case OpKind::kFChown:
    case OpKind::kFUtimes:
    case OpKind::kFSetXattr:
      return RunOnOpenAttributes(op, slot(op.slot));
    case OpKind::kMkdir:
    case OpKind::kRmdir:
    case OpKind::kUnlink:
    case OpKind::kSymlink:
    case OpKind::kMknod:
    case OpKind::kLink:
    case OpKind::kRename:
      return RunOnNames(op, Base(op));
    case OpKind::kTruncate:
    case OpKind::kChmod:
    case OpKind::kChown:
    case OpKind::kUtimes:
    case OpKind::kSetXattr:
    case OpKind::kRemoveXattr:
      return RunOnAttributes(op, Base(op));
    default:
      return RunLook(op, Base(op));
  }
}

Outcome Executor::RunOpen(const Operation& op) {
  const int fd = ::openat(Base(op), op.path.c_str(),
                          static_cast<int>(op.flags) | O_CLOEXEC | O_NONBLOCK, op.mode);
  if (fd < 0) return Returned(fd);
  slots_[op.slot].reset(fd);
  return Returned(0);  // the number itself is the harness's matter
}

Outcome Executor::RunOnData(const Operation& op, int fd) {
  switch (op.kind) {
    case OpKind::kRead:
      return ReadBytes(fd, op.b, op.a);
    case OpKind::kReadNext:
      // ext4 answers EINVAL after a listing, others always EISDIR.
      if (struct stat st; ::fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) return Failed(EISDIR);
      return ReadBytes(fd, op.b, std::nullopt);
    case OpKind::kWrite: {
      const std::string bytes = BytesOf(op);
      return Returned(::pwrite(fd, bytes.data(), bytes.size(), op.a));
    }
    case OpKind::kWriteNext: {
      const std::string bytes = BytesOf(op);
      return Returned(::write(fd, bytes.data(), bytes.size()));
    }
    case OpKind::kMapRead:
    case OpKind::kMapWrite:
      return Map(fd, op);
    case OpKind::kFTruncate:
      return Returned(::ftruncate(fd, op.a));
    case OpKind::kFallocate:
      return Returned(::fallocate(fd, static_cast<int>(op.flags), op.a, op.b));
    case OpKind::kSeek: {
      // Only files have holes; ext4 answers for directories, too, with positions of its own.
      struct stat st;
      if (::fstat(fd, &st) != 0) return Returned(-1);
      if (!S_ISREG(st.st_mode)) return Failed(ESPIPE);
      // Leaves the file position where it was.
      const off_t position = ::lseek(fd, 0, SEEK_CUR);
      const Outcome outcome = Returned(::lseek(fd, op.a, static_cast<int>(op.flags)));
      if (position >= 0) ::lseek(fd, position, SEEK_SET);
      return outcome;
    }
    case OpKind::kCopyRange:
      return CopyRange(fd, slot(op.slot2), op);
    case OpKind::kFsync:
      return Returned(::fsync(fd));
    default:
      if (::lseek(fd, 0, SEEK_SET) != 0) return Returned(-1);
      return List(fd);
  }
}

Outcome Executor::RunOnOpenAttributes(const Operation& op, int fd) {
  switch (op.kind) {
    case OpKind::kFStat:
      return fd < 0 ? Failed(EBADF) : Stat(fd, "", AT_EMPTY_PATH);
    case OpKind::kFChmod:
      return Returned(::fchmod(fd, op.mode));
    case OpKind::kFChown:
      return Returned(::fchown(fd, Id(op.a), Id(op.b)));
    case OpKind::kFUtimes:
      return Returned(::futimens(fd, TimesOf(op).pair));
    default:
      return Returned(::fsetxattr(fd, op.name.c_str(), op.text.data(), op.text.size(),
                                  static_cast<int>(op.flags)));
  }
}

Outcome Executor::RunOnNames(const Operation& op, int base) {
  const char* const path = op.path.c_str();
  switch (op.kind) {
    case OpKind::kMkdir:
      return Returned(::mkdirat(base, path, op.mode));
    case OpKind::kRmdir:
      return Returned(::unlinkat(base, path, AT_REMOVEDIR));
    case OpKind::kUnlink:
      return Returned(::unlinkat(base, path, 0));
    case OpKind::kSymlink:
      return Returned(::symlinkat(op.text.c_str(), base, path));
    case OpKind::kMknod:
      return Returned(
          ::mknodat(base, path, op.mode, makedev(kTestMajor, static_cast<unsigned>(op.a))));
    case OpKind::kLink:
      return Returned(::linkat(base, path, base, op.path2.c_str(), 0));
    default:
      return Returned(::renameat2(base, path, base, op.path2.c_str(), op.flags));
  }
}

Outcome Executor::RunOnAttributes(const Operation& op, int base) {
  const char* const path = op.path.c_str();
  switch (op.kind) {
    case OpKind::kTruncate:
      return Returned(::truncate(ProcPath(base, op.path).c_str(), op.a));
    case OpKind::kChmod:
      return Returned(::fchmodat(base, path, op.mode, 0));
    case OpKind::kChown:
      return Returned(::fchownat(base, path, Id(op.a), Id(op.b), AT_SYMLINK_NOFOLLOW));
    case OpKind::kUtimes:
      return Returned(::utimensat(base, path, TimesOf(op).pair, AT_SYMLINK_NOFOLLOW));
    case OpKind::kSetXattr:
      return Returned(::lsetxattr(ProcPath(base, op.path).c_str(), op.name.c_str(), op.text.data(),
                                  op.text.size(), static_cast<int>(op.flags)));
    default:
      return Returned(::lremovexattr(ProcPath(base, op.path).c_str(), op.name.c_str()));
  }
}

// The sorted names and types; a d_ino that is not st_ino is reported as data, which the model
// cannot have.
Outcome Executor::List(int fd) const {
  std::vector<std::string> lines;
  const auto listed =
      FileOps::System().ReadDir(fd, [&](std::string_view name, ino_t ino, unsigned char type) {
        std::string line(name);
        line += '/';
        line += std::to_string(type);
        struct stat st;
        if (::fstatat(fd, std::string(name).c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) {
          if (st.st_ino != ino && !lenient_listing_) line += " d_ino is not st_ino";
        } else if (errno == ENOENT && lenient_listing_) {
          return true;
        }
        lines.push_back(std::move(line));
        return true;
      });
  if (!listed) return Failed(listed.error().code());
  std::ranges::sort(lines);
  Outcome outcome = Returned(static_cast<std::int64_t>(lines.size()));
  for (const std::string& line : lines) outcome.data += line + '\n';
  return outcome;
}

Outcome Executor::RunLook(const Operation& op, int base) {
  const char* const path = op.path.c_str();
  switch (op.kind) {
    case OpKind::kStat:
      return Stat(base, path, AT_SYMLINK_NOFOLLOW);
    case OpKind::kReadDir: {
      const UniqueFd dir(::openat(base, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      return dir ? List(dir.get()) : Returned(-1);
    }
    case OpKind::kReadLink: {
      char target[4096];
      const ssize_t n = ::readlinkat(base, path, target, sizeof(target));
      Outcome outcome = Returned(n);
      if (n > 0) outcome.data.assign(target, static_cast<std::size_t>(n));
      return outcome;
    }
    case OpKind::kAccess:
      return Returned(::faccessat(base, path, static_cast<int>(op.mode), AT_EACCESS));
    case OpKind::kStatFs: {
      struct statfs info;
      if (::statfs(ProcPath(base, op.path).c_str(), &info) != 0) return Returned(-1);
      // Sanity only: the numbers are those of whatever the upper layer lies on.
      return Returned(info.f_bsize > 0 && info.f_namelen == 255 && info.f_blocks > 0 ? 0 : -1);
    }
    case OpKind::kGetXattr: {
      char value[1024];
      const ssize_t n =
          ::lgetxattr(ProcPath(base, op.path).c_str(), op.name.c_str(), value, sizeof(value));
      Outcome outcome = Returned(n);
      if (n > 0) outcome.data.assign(value, static_cast<std::size_t>(n));
      return outcome;
    }
    default: {
      char names[4096];
      const ssize_t n = ::llistxattr(ProcPath(base, op.path).c_str(), names, sizeof(names));
      if (n < 0) return Returned(n);
      std::vector<std::string> sorted;
      for (const char* name = names; name < names + n; name += sorted.back().size() + 1) {
        sorted.emplace_back(name);
      }
      std::ranges::sort(sorted);
      Outcome outcome = Returned(n);
      for (const std::string& name : sorted) outcome.data += name + '\n';
      return outcome;
    }
  }
}

}  // namespace strata::property
