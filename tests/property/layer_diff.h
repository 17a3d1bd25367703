// The upper layer of a union as a layer of an image.
#pragma once

#include <string>

#include "base/error.h"

namespace strata::property {

// Writes the diff of `upper`, with the work directory `work`, whose union is mounted at `mount`,
// and unpacks it into `layer`, which it makes. A second diff must have the same bytes.
Result<> UnpackDiff(const std::string& upper, const std::string& work, const std::string& mount,
                    const std::string& layer);

}  // namespace strata::property
