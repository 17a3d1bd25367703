#include "fusefs/daemon/mount_check.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <climits>
#include <cstdlib>

#include "base/try.h"
#include "base/unique_fd.h"

namespace strata::fusefs {
namespace {

Result<std::string> Resolve(const std::string& path, const char* what) {
  char resolved[PATH_MAX];
  if (::realpath(path.c_str(), resolved) == nullptr) {
    return FailErrno(what, path);
  }
  return std::string(resolved);
}

// Everything lies inside "/", which makes it a layer as good as any.
bool IsInside(const std::string& path, const std::string& directory) {
  return path.size() > directory.size() && path.starts_with(directory) &&
         path[directory.size()] == '/';
}

Result<> CheckOutside(const std::string& mountpoint, const std::string& directory,
                      const char* option) {
  if (directory.empty()) return {};
  STRATA_TRY_ASSIGN(const std::string resolved, Resolve(directory, option));
  const char* relation = nullptr;
  if (resolved == mountpoint) relation = " is the same as ";
  if (IsInside(mountpoint, resolved)) relation = " is inside ";
  if (relation == nullptr) return {};
  return Fail(EINVAL, "", "mountpoint " + mountpoint + relation + option + " " + directory);
}

}  // namespace

Result<std::string> CheckMountpoint(const std::string& mountpoint, const EngineOptions& layers) {
  STRATA_TRY_ASSIGN(std::string resolved, Resolve(mountpoint, "mountpoint"));
  struct stat info = {};
  if (::stat(resolved.c_str(), &info) != 0) return FailErrno("mountpoint", mountpoint);
  if (!S_ISDIR(info.st_mode)) return Fail(ENOTDIR, "mountpoint", mountpoint);
  // Hides nothing from processes that run, but /dev, /proc and the way to unmount it from new ones.
  if (resolved == "/")
    return Fail(EINVAL, "", "mountpoint " + mountpoint + " is the root directory");
  for (const std::string& lower : layers.lower) {
    STRATA_TRY(CheckOutside(resolved, lower, "lowerdir"));
  }
  STRATA_TRY(CheckOutside(resolved, layers.upper, "upperdir"));
  STRATA_TRY(CheckOutside(resolved, layers.work, "workdir"));
  return resolved;
}

Result<> EnterMountNamespace(const std::string& name) {
  const bool is_process =
      std::ranges::all_of(name, [](char c) { return std::isdigit(static_cast<unsigned char>(c)); });
  const std::string path = is_process ? "/proc/" + name + "/ns/mnt" : name;
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return FailErrno("mount namespace", path);
  if (::setns(fd.get(), CLONE_NEWNS) != 0) return FailErrno("mount namespace", path);
  return {};
}

}  // namespace strata::fusefs
