// Which store below had a layer that images here need.
#pragma once

#include <optional>
#include <string>

#include "base/digest.h"
#include "base/error.h"

namespace strata::layerstore {

class Connection;

// The root of the store below that was seen to have the layer, whether it is open now or not;
// nothing if none was.
Result<std::optional<std::string>> RecordedStoreBelow(Connection& connection,
                                                      const Digest& diff_id);

}  // namespace strata::layerstore
