// The options of -o. Private to this folder.
#pragma once

#include <string_view>

#include "base/error.h"
#include "fusefs/daemon/options.h"

namespace strata::fusefs {

// A list as -o and fstab(5) have it: "ro,lowerdir=a:b". Commas in values are escaped. EINVAL with a
// line for the user; what is not known goes to Options::unknown.
Result<> ApplyMountOptions(Options& options, std::string_view list);

}  // namespace strata::fusefs
