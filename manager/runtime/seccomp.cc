#include "manager/runtime/seccomp.h"

#include <algorithm>
#include <cerrno>

namespace strata::manager {
namespace {

struct Guarded {
  const char* capability;  // "" : refused whatever the capabilities
  std::vector<std::string> names;
};

// Each system call with the capability whose holder may use it, after capabilities(7) and the table
// "Significant syscalls blocked by the default profile" of
// https://docs.docker.com/engine/security/seccomp/.
const std::vector<Guarded>& GuardedCalls() {
  static const std::vector<Guarded> calls{
      {"CAP_SYS_ADMIN",
       {"bpf",           "fanotify_init",  "fsconfig",        "fsmount",       "fsopen",
        "fspick",        "lookup_dcookie", "mount",           "mount_setattr", "move_mount",
        "open_tree",     "open_tree_attr", "perf_event_open", "quotactl",      "quotactl_fd",
        "setdomainname", "sethostname",    "setns",           "umount",        "umount2",
        "unshare"}},
      {"CAP_SYS_BOOT", {"kexec_file_load", "kexec_load", "reboot"}},
      {"CAP_SYS_MODULE", {"create_module", "delete_module", "finit_module", "init_module"}},
      {"CAP_SYS_PACCT", {"acct"}},
      {"CAP_SYS_PTRACE", {"kcmp", "pidfd_getfd", "process_madvise"}},
      {"CAP_SYS_RAWIO", {"ioperm", "iopl"}},
      {"CAP_SYS_TIME", {"clock_adjtime", "clock_settime", "settimeofday", "stime"}},
      {"CAP_SYS_TTY_CONFIG", {"vhangup"}},
      {"CAP_SYS_NICE", {"mbind", "migrate_pages", "move_pages", "set_mempolicy"}},
      {"CAP_DAC_READ_SEARCH", {"open_by_handle_at"}},
      {"CAP_SYSLOG", {"syslog"}},
      {"",
       {"add_key", "get_kernel_syms", "io_uring_enter", "io_uring_register", "io_uring_setup",
        "keyctl", "nfsservctl", "query_module", "request_key", "swapoff", "swapon", "_sysctl",
        "sysfs", "uselib", "userfaultfd", "ustat", "vm86", "vm86old"}},
  };
  return calls;
}

bool Has(const std::vector<std::string>& capabilities, std::string_view name) {
  return std::ranges::find(capabilities, name) != capabilities.end();
}

}  // namespace

bool NamespacesRefused(const std::vector<std::string>& capabilities) {
  return !Has(capabilities, "CAP_SYS_ADMIN");
}

std::vector<SeccompRule> DefaultSeccompRules(const std::vector<std::string>& capabilities) {
  std::vector<SeccompRule> rules;
  for (const auto& [capability, names] : GuardedCalls()) {
    if (*capability != '\0' && Has(capabilities, capability)) continue;
    rules.push_back({names, EPERM});
  }
  // clone3 hides its flags behind a pointer a filter cannot follow: ENOSYS makes libc use clone.
  if (NamespacesRefused(capabilities)) rules.push_back({{"clone3"}, ENOSYS});
  return rules;
}

}  // namespace strata::manager
