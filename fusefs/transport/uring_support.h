// What of FUSE over io_uring this system has.
#pragma once

#include <string>

#include "base/error.h"

namespace strata::fusefs {

// The setting of the whole system that allows it.
inline constexpr const char* kUringParameter = "/sys/module/fuse/parameters/enable_uring";

// Success if a mount made now can use it. Else one line for the user in the detail: ENOSYS for a
// kernel without it (before Linux 6.14, or built so), EOPNOTSUPP where kUringParameter says no, the
// system's own error where io_uring is forbidden to us.
Result<> CheckUring();
// The same, but where only kUringParameter stands in the way it is set. EACCES, EPERM or EROFS, and
// kUringParameter in the detail, if that is not allowed.
Result<> EnableUring();

// How many queues a connection has: one for each processor that may ever be plugged in.
Result<unsigned> CountUringQueues();
// How many processors "0-3,8,10-11" names; EPROTO if it is not of that form.
Result<unsigned> CountCpus(std::string_view list);

}  // namespace strata::fusefs
