#include "base/privileges.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>

namespace strata {
namespace {

// include/uapi/linux/nsfs.h: USER_NS_INIT_INO, the fixed inode number of the initial namespace.
constexpr ino_t kInitialUserNamespace = 0xEFFFFFFD;

std::string ProcOf(pid_t thread) { return "/proc/" + std::to_string(thread); }

bool IsInInitialUserNamespace(const std::string& proc) {
  struct stat user_namespace = {};
  return ::stat((proc + "/ns/user").c_str(), &user_namespace) == 0 &&
         user_namespace.st_ino == kInitialUserNamespace;
}

}  // namespace

Result<ThreadCapabilities> ThreadCapabilities::Get() {
  ThreadCapabilities now;
  if (::syscall(SYS_capget, &now.header_, now.data_) != 0) return FailErrno("capget");
  return now;
}

Result<ThreadCapabilities> ThreadCapabilities::Of(pid_t thread) {
  if (thread <= 0) return Fail(ESRCH, "capget");  // 0 would be ourselves
  ThreadCapabilities theirs;
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = thread};
  if (::syscall(SYS_capget, &header, theirs.data_) != 0) return FailErrno("capget");
  return theirs;
}

Result<> ThreadCapabilities::Apply() const {
  if (::syscall(SYS_capset, &header_, data_) != 0) return FailErrno("capset");
  return {};
}

bool HoldsGlobalAdmin() {
  if (!IsInInitialUserNamespace("/proc/self")) return false;
  const auto capabilities = ThreadCapabilities::Get();
  return capabilities && capabilities->Has(CAP_SYS_ADMIN);
}

std::optional<bool> HoldsGlobally(pid_t thread, unsigned capability) {
  const auto capabilities = ThreadCapabilities::Of(thread);
  if (!capabilities) return std::nullopt;
  return capabilities->Has(capability) && IsInInitialUserNamespace(ProcOf(thread));
}

bool HasSupplementaryGroup(pid_t thread, gid_t group) {
  std::ifstream status(ProcOf(thread) + "/status");
  constexpr std::string_view kTitle = "Groups:";
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with(kTitle)) continue;
    std::istringstream groups(line.substr(kTitle.size()));
    for (gid_t one = 0; groups >> one;) {
      if (one == group) return true;
    }
    return false;
  }
  return false;
}

}  // namespace strata
