// How manifests call layers.
#pragma once

#include <optional>
#include <string_view>

#include "layerstore/archive/compression.h"

namespace strata::layerstore {

// The media type of a layer that is packed so, in a manifest of docker's kind or in OCI's. docker
// has no word of its own for zstd; then it is OCI's.
std::string_view LayerMediaType(Compression compression, bool docker);

// The other way round, for types of whatever kind; nothing for what is no type of a layer.
std::optional<Compression> CompressionOfMediaType(std::string_view type);

}  // namespace strata::layerstore
