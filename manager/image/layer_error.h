// What people are told when an image's layers are not what the store says.
#pragma once

#include <span>
#include <string_view>

#include "base/digest.h"
#include "base/error.h"

namespace strata::layerstore {
class Store;
}

namespace strata::manager {

// Names the image. Of a layer that is missing, where it was and what tells more: EIO, as ENOENT
// would mean that there is no such image.
Error LayerError(layerstore::Store& store, std::string_view image, std::span<const Digest> diff_ids,
                 Error error);

}  // namespace strata::manager
