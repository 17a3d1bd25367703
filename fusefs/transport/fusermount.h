// The setuid helper fusermount3, which mounts and unmounts for users who may not.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"

namespace strata::fusefs {

// `fusermount3 -o OPTIONS -- MOUNTPOINT`: the connected device, received over a socket
// (_FUSE_COMMFD, fusermount3's own protocol). Options are joined with commas; commas and
// backslashes inside one must already be escaped. EPERM with the helper's message in the detail if
// it refuses, ENOENT if it is not installed.
Result<UniqueFd> FusermountMount(const std::string& mountpoint,
                                 const std::vector<std::string>& options);

// `fusermount3 -u [-z] -- MOUNTPOINT`. `lazy` detaches a mount that is in use; without it such a
// mount is EBUSY.
Result<> FusermountUnmount(const std::string& mountpoint, bool lazy);

}  // namespace strata::fusefs
