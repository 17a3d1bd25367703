// The marks of overlay layers that more than one reader has to understand (docs/formats/upper.md).
#pragma once

#include <string_view>

namespace strata::layerstore {

// Whether a redirect is one that overlays write: an absolute path, or a name without a slash; no
// empty component, "." or "..".
bool IsRedirect(std::string_view redirect);

}  // namespace strata::layerstore
