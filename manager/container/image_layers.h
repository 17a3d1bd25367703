// What a root filesystem needs of an image: its layer directories and the index of their chain.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "manager/container/rootfs.h"
#include "manager/container/types.h"

namespace strata::layerstore {
class Store;
}

namespace strata::manager {

// The layers that a container was made on, base first.
Result<std::vector<Digest>> LayersOf(const ContainerRecord& record);

// Bytes of files in them, by what each layer has; of one that is not known, 0.
Result<std::uint64_t> ImageSize(const ContainerRecord& record,
                                const std::unordered_map<Digest, std::uint64_t>& layers);

// Appends the layers (base first) to the request's, and has the store make the index of their chain
// if need be: only that tells which of their files are one. Errors name the `image` and say what is
// missing (LayerError()); EACCES
// for a plain user's layers with directories that their owner may not read.
Result<> AddImageLayers(layerstore::Store& store, std::string_view image,
                        std::span<const Digest> diff_ids, RootFsRequest& request);

}  // namespace strata::manager
