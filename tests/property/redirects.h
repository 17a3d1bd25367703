// Layers that have renamed directories of the layers below, as an overlay with redirects leaves
// them.
#pragma once

#include <string>
#include <vector>

#include "tests/property/random.h"

namespace strata::property {

// Adds a few to `layer`: new names that lead to directories of `below` (top first), absolute or
// relative, with and without a whiteout over the old name, files of their own and an opaque mark.
// `scratch` is a path to work in. Throws (must.h).
void AddRedirects(const std::string& layer, const std::vector<std::string>& below, Random& random,
                  const std::string& scratch);

}  // namespace strata::property
