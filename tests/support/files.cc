#include "tests/support/files.h"

#include <fcntl.h>
#include <grp.h>
#include <unistd.h>

#include <algorithm>

#include "base/file_ops.h"
#include "base/path.h"
#include "tests/support/must.h"
#include "tests/support/process.h"

namespace strata::support {
namespace {

void Append(std::vector<std::string>& out, const std::string& root, const std::string& path) {
  for (const std::string& name : List(JoinPath(root, path))) {
    const std::string child = JoinPath(path, name);
    out.push_back(child);
    if (S_ISDIR(Lstat(JoinPath(root, child)).st_mode)) Append(out, root, child);
  }
}

}  // namespace

void MakeDir(const std::string& path, mode_t mode) {
  MustCall(::mkdir(path.c_str(), mode), "mkdir");
  MustCall(::chmod(path.c_str(), mode), "chmod");
}

UniqueFd OpenFile(const std::string& path, int flags, mode_t mode) {
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd) throw std::runtime_error(Error::FromErrno("open", path).ToString());
  return fd;
}

void WriteFile(const std::string& path, std::string_view content, mode_t mode) {
  const UniqueFd fd = OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
  Must(WriteAll(FileOps::System(), fd.get(), content));
  MustCall(::fchmod(fd.get(), mode), "fchmod");
}

std::string ReadFile(const std::string& path) {
  constexpr std::size_t kLimit = std::size_t{64} << 20;
  return Must(ReadAll(FileOps::System(), OpenFile(path, O_RDONLY).get(), kLimit));
}

void AppendFile(const std::string& path, std::string_view content) {
  Must(WriteAll(FileOps::System(), OpenFile(path, O_WRONLY | O_APPEND).get(), content));
}

void MakeWhiteout(const std::string& path) { MustCall(::mknod(path.c_str(), S_IFCHR, 0), "mknod"); }

struct stat Lstat(const std::string& path) {
  struct stat st;
  if (::lstat(path.c_str(), &st) != 0) {
    throw std::runtime_error(Error::FromErrno("lstat", path).ToString());
  }
  return st;
}

bool Exists(const std::string& path) {
  struct stat st;
  return ::lstat(path.c_str(), &st) == 0;
}

std::vector<std::string> List(const std::string& path) {
  std::vector<std::string> names;
  Must(FileOps::System().ReadDir(OpenFile(path, O_RDONLY | O_DIRECTORY).get(),
                                 [&](std::string_view name, ino_t, unsigned char) {
                                   names.emplace_back(name);
                                   return true;
                                 }));
  std::ranges::sort(names);
  return names;
}

std::vector<std::string> ListAll(const std::string& path) {
  std::vector<std::string> paths;
  Append(paths, path, "");
  return paths;
}

int ErrnoOf(long result) { return result == -1 ? errno : 0; }

int AsUser(uid_t uid, const std::function<int()>& body) {
  ChildProcess child = Must(ChildProcess::Fork([&] {
    constexpr int kCannotSwitch = 254;
    if (::setgroups(0, nullptr) != 0 || ::setgid(uid) != 0 || ::setuid(uid) != 0) {
      return kCannotSwitch;
    }
    return body();
  }));
  return Must(child.Wait(std::chrono::seconds(30)));
}

}  // namespace strata::support
