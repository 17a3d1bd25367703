// Which extended attributes of a layer are set, and under which name.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace strata::layerstore {

// The name to set, or nothing if the attribute is left out:
//   trusted.overlay.*, user.overlay.*   escaped to ….overlay.overlay.*, which overlayfs shows under
//                                       the original name and does not obey
//   user.*, trusted.*, security.capability, POSIX ACLs   as they are
//   the rest (security.selinux, …)      belongs to the host's policy: left out
// https://docs.kernel.org/filesystems/overlayfs.html#nested-overlayfs-mounts
std::optional<std::string> XattrNameOnDisk(std::string_view name);

}  // namespace strata::layerstore
