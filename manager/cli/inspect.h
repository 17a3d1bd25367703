// `inspect`: whole objects as the daemon describes them.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "base/error.h"
#include "manager/cli/client.h"

namespace strata::manager::cli {

enum class ObjectKind : std::uint8_t { kContainer, kImage, kVolume };

// Prints a JSON array of the named objects, or `format` rendered for each. A name is looked for
// among the kinds in that order. Unknown names are reported and make the exit status 1; the others
// are printed all the same.
Result<int> InspectObjects(Client& client, const std::vector<std::string>& names,
                           std::initializer_list<ObjectKind> kinds, const std::string& format);

}  // namespace strata::manager::cli
