// The capabilities of a container's processes: docker's default set, changed by --cap-add and
// --cap-drop.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace strata::manager {

// docker's documented default
// (https://docs.docker.com/engine/containers/run/#runtime-privilege-and-linux-capabilities).
std::vector<std::string> DefaultCapabilities();

// Every capability this kernel knows and this process may pass on, by number.
std::vector<std::string> AllCapabilities();

// Applies add and drop lists ("NET_ADMIN", "cap_net_admin", "ALL") to `base`; drops win over
// adds except when ALL is dropped, which only empties the base. EINVAL for an unknown name.
Result<std::vector<std::string>> AdjustCapabilities(const std::vector<std::string>& base,
                                                    const std::vector<std::string>& add,
                                                    const std::vector<std::string>& drop);

}  // namespace strata::manager
