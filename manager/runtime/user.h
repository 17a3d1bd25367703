// Who a process in a container runs as: docker's --user / USER text against the container's own
// /etc/passwd and /etc/group.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace strata::manager {

struct ContainerUser {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> additional_gids;
  std::string home = "/";
};

// `text` is "", "user", "uid", "user:group", "uid:gid". Names are looked up in the root that `root`
// (borrowed, a directory) holds; numbers need no entry. `extra_groups` are docker's --group-add,
// names or numbers. The two files are opened confined to the root, regular files only, without
// blocking, and read up to 4 MiB: an image must not reach the host's files or hang the daemon
// (CVE-2024-9676). EINVAL "unable to find user NAME: no matching entries in passwd file".
Result<ContainerUser> ResolveUser(int root, std::string_view text,
                                  const std::vector<std::string>& extra_groups);

}  // namespace strata::manager
