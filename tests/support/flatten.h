// What a stack of layers means, worked out a second time: writes the merged tree as plain
// directories and files. Shares no code with the engine, so that both being wrong in the same way
// is unlikely; checked against kernel overlayfs by running the model test with it.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/error.h"

namespace strata::support {

// A file with hard links in its layer of which other layers hide some.
struct HiddenLinks {
  std::string path;  // one visible name, relative to the output
  nlink_t hidden = 0;
};

// Merges `layers` (top first, in overlayfs's format: 0/0 character devices, trusted.overlay.opaque
// and .redirect) into the existing directory `output`, whose attributes become those of the top
// layer's root. Owners, modes, mtimes, xattrs, holes and hard links within a layer are kept;
// trusted.overlay.* is obeyed and dropped, its escaped form unescaped.
Result<std::vector<HiddenLinks>> Flatten(const std::vector<std::string>& layers,
                                         const std::string& output);

}  // namespace strata::support
