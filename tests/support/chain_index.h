// Indexes of directories that are in no store.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/privileges.h"
#include "layerstore/index/layer_scan.h"

namespace strata::support {

// Writes the index of the layer directory `layer` to the file `name` in `dir`.
Result<> WriteLayerIndex(const std::string& layer, const std::string& dir, const char* name,
                         const layerstore::ScanHints& hints = {},
                         bool user_marks = !HoldsGlobalAdmin());

// Indexes `layers` (top first, absolute) and writes the index of their chain into the existing
// directory `chain`, for `stratafs -o chain=`. In two steps if `base` is not 0: first the chain of
// the lowest `base` layers, then from its index the rest, as a store does for an image built on
// another. `hints` are about all of the layers.
Result<> WriteChainIndex(const std::vector<std::string>& layers, const std::string& chain,
                         std::size_t base = 0, const layerstore::ScanHints& hints = {},
                         bool user_marks = !HoldsGlobalAdmin());

}  // namespace strata::support
