// docker's --security-opt, as far as it means something here.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace strata::manager {

struct SecurityOptions {
  bool no_new_privileges = false;
  bool seccomp_unconfined = false;
};

// "no-new-privileges", "no-new-privileges:true|false", "seccomp=unconfined"; "apparmor=unconfined"
// and "label=disable" ask for what is the case; ':' and '=' are the same. A later one wins. EINVAL
// that names it for everything else.
Result<SecurityOptions> ParseSecurityOptions(const std::vector<std::string>& options);

}  // namespace strata::manager
