#include "manager/container/error_text.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace strata::manager {
namespace {

// The operations that errors of system calls name: those of base::FileOps and what the manager
// calls itself.
constexpr std::array<std::string_view, 64> kSystemCalls{"bind",
                                                        "chmod",
                                                        "connect",
                                                        "copy_file_range",
                                                        "epoll_create1",
                                                        "epoll_ctl",
                                                        "epoll_wait",
                                                        "eventfd",
                                                        "fallocate",
                                                        "fchmod",
                                                        "fchmodat2",
                                                        "fchown",
                                                        "fchownat",
                                                        "fcntl",
                                                        "fdatasync",
                                                        "flock",
                                                        "fsetxattr",
                                                        "fstat",
                                                        "fstatat",
                                                        "fstatvfs",
                                                        "fsync",
                                                        "ftruncate",
                                                        "futimens",
                                                        "getdents64",
                                                        "getrandom",
                                                        "getxattr",
                                                        "inotify_add_watch",
                                                        "inotify_init1",
                                                        "lgetxattr",
                                                        "linkat",
                                                        "listxattr",
                                                        "lseek",
                                                        "mkdir",
                                                        "mkdirat",
                                                        "mknodat",
                                                        "open",
                                                        "openat",
                                                        "openat2",
                                                        "pidfd_open",
                                                        "pidfd_send_signal",
                                                        "pipe2",
                                                        "poll",
                                                        "pread",
                                                        "pwrite",
                                                        "read",
                                                        "readlinkat",
                                                        "realpath",
                                                        "recv",
                                                        "removexattr",
                                                        "renameat2",
                                                        "send",
                                                        "setsockopt",
                                                        "setxattr",
                                                        "shutdown",
                                                        "sigprocmask",
                                                        "socket",
                                                        "symlinkat",
                                                        "sync_file_range",
                                                        "syncfs",
                                                        "umount",
                                                        "unlink",
                                                        "unlinkat",
                                                        "utimensat",
                                                        "write"};
static_assert(std::ranges::is_sorted(kSystemCalls));

}  // namespace

std::string ErrorText(const Error& error) {
  if (error.detail().empty() || std::ranges::binary_search(kSystemCalls, error.op())) {
    return error.ToString();
  }
  return std::string(error.detail());
}

}  // namespace strata::manager
