#include "layerstore/archive/xattr_policy.h"

#include <array>

#include "layerstore/archive/posix_acl.h"

namespace strata::layerstore {

std::optional<std::string> XattrNameOnDisk(std::string_view name) {
  constexpr std::array<std::string_view, 2> kOverlay = {"trusted.overlay.", "user.overlay."};
  for (const std::string_view prefix : kOverlay) {
    if (!name.starts_with(prefix)) continue;
    return std::string(prefix) + "overlay." + std::string(name.substr(prefix.size()));
  }
  if (name.starts_with("user.") || name.starts_with("trusted.") || name == "security.capability" ||
      name == kAclAccessXattr || name == kAclDefaultXattr) {
    return std::string(name);
  }
  return std::nullopt;
}

}  // namespace strata::layerstore
