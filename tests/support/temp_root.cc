#include "tests/support/temp_root.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <fstream>
#include <ranges>
#include <sstream>

#include "base/file_ops.h"
#include "base/try.h"
#include "base/unique_fd.h"

namespace strata::support {
namespace {

constexpr std::string_view kPrefix = "strata-test-";

std::string BaseDirectory() {
  const char* dir = std::getenv("TMPDIR");
  return dir != nullptr && *dir != '\0' ? dir : "/tmp";
}

// Undoes the \ooo escapes of /proc/self/mountinfo.
std::string Unescape(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                               (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

Result<> RemoveContents(int dir_fd) {
  // Names first: removing entries while reading them may skip some.
  std::vector<std::string> names;
  STRATA_TRY(FileOps::System().ReadDir(dir_fd, [&](std::string_view name, ino_t, unsigned char) {
    names.emplace_back(name);
    return true;
  }));
  for (const std::string& name : names) {
    if (::unlinkat(dir_fd, name.c_str(), 0) == 0 || errno == ENOENT) continue;
    if (errno != EISDIR && errno != EPERM) return FailErrno("unlinkat", name);
    UniqueFd sub(::openat(dir_fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!sub) return FailErrno("openat", name);
    STRATA_TRY(RemoveContents(sub.get()));
    sub.reset();
    if (::unlinkat(dir_fd, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
      return FailErrno("rmdir", name);
    }
  }
  return {};
}

// The pid in "strata-test-<pid>-xxxxxx", or 0.
pid_t OwnerOf(std::string_view name) {
  if (!name.starts_with(kPrefix)) return 0;
  name.remove_prefix(kPrefix.size());
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
  return error == std::errc() && end != name.data() + name.size() && *end == '-' ? pid : 0;
}

Result<> SweepLeftovers(const std::string& base) {
  UniqueFd dir(::open(base.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir) return FailErrno("open", base);
  if (::flock(dir.get(), LOCK_EX | LOCK_NB) != 0) return {};  // another test is at it
  std::vector<std::string> stale;
  STRATA_TRY(FileOps::System().ReadDir(dir.get(), [&](std::string_view name, ino_t, unsigned char) {
    const pid_t pid = OwnerOf(name);
    if (pid > 0 && ::kill(pid, 0) != 0 && errno == ESRCH) stale.push_back(std::string(name));
    return true;
  }));
  for (const std::string& name : stale) {
    const std::string path = base + "/" + name;
    STRATA_TRY(UnmountBelow(path));
    STRATA_TRY(RemoveTree(path));
  }
  return {};
}

}  // namespace

Result<std::vector<std::string>> MountsBelow(const std::string& path) {
  std::ifstream in("/proc/self/mountinfo");
  if (!in) return Fail(EIO, "open", "/proc/self/mountinfo");
  std::vector<std::string> found;
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    std::string field;
    for (int i = 0; i < 5; ++i) fields >> field;  // the fifth is the mount point
    std::string point = Unescape(field);
    if (point == path || point.starts_with(path + "/")) found.push_back(std::move(point));
  }
  return found;
}

Result<> UnmountBelow(const std::string& path) {
  STRATA_TRY_ASSIGN(const std::vector<std::string> mounts, MountsBelow(path));
  for (const std::string& point : std::views::reverse(mounts)) {
    if (::umount2(point.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0 && errno != EINVAL &&
        errno != ENOENT) {
      return FailErrno("umount2", point);
    }
  }
  return {};
}

Result<> RemoveTree(const std::string& path) {
  UniqueFd dir(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!dir) {
    if (errno == ENOENT) return {};
    if (errno != ENOTDIR && errno != ELOOP) return FailErrno("open", path);
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return FailErrno("unlink", path);
    return {};
  }
  STRATA_TRY(RemoveContents(dir.get()));
  dir.reset();
  if (::rmdir(path.c_str()) != 0 && errno != ENOENT) return FailErrno("rmdir", path);
  return {};
}

Result<TempRoot> TempRoot::Create() { return CreateIn(BaseDirectory()); }

Result<TempRoot> TempRoot::CreateInMemory() {
  constexpr const char* kMemory = "/dev/shm";
  return CreateIn(::access(kMemory, W_OK) == 0 ? kMemory : BaseDirectory());
}

Result<TempRoot> TempRoot::CreateIn(const std::string& base) {
  STRATA_TRY(SweepLeftovers(base));
  std::string path = base + "/" + std::string(kPrefix) + std::to_string(::getpid()) + "-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) return FailErrno("mkdtemp", path);
  TempRoot root(path);
  if (::chmod(path.c_str(), 0755) != 0) return FailErrno("chmod", path);
  return root;
}

TempRoot& TempRoot::operator=(TempRoot&& other) noexcept {
  std::swap(path_, other.path_);
  return *this;
}

TempRoot::~TempRoot() {
  if (path_.empty()) return;
  Ignore(UnmountBelow(path_), "a mount that stays is swept by the next run");
  Ignore(RemoveTree(path_), "a directory that stays is swept by the next run");
}

std::string TempRoot::At(std::string_view name) const { return path_ + "/" + std::string(name); }

Result<std::string> TempRoot::MakeDir(std::string_view name) const {
  std::string path = At(name);
  if (::mkdir(path.c_str(), 0755) != 0) return FailErrno("mkdir", path);
  if (::chmod(path.c_str(), 0755) != 0) return FailErrno("chmod", path);
  return path;
}

}  // namespace strata::support
