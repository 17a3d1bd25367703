// What a store answers, as JSON: what must not change when a newer program takes an old store over.
#pragma once

#include <string>
#include <vector>

#include "base/digest.h"
#include "layerstore/store/store.h"

namespace strata::layerstore {

// Its images with everything about them, and of their layers and those of `more` the rows, the
// blobs, the bytes of kept blobs (as digests), and all that can be seen of the unpacked tree but
// inode numbers. Throws (must.h).
std::string DescribeStore(Store& store, const std::vector<Digest>& more);

}  // namespace strata::layerstore
