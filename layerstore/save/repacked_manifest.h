// The manifest of an image whose layers are given out in other forms than it came with.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/digest.h"
#include "base/error.h"
#include "layerstore/archive/compression.h"
#include "layerstore/meta/image_store.h"

namespace strata::layerstore {

// Bytes that are a layer.
struct PackedLayer {
  Digest digest;
  std::uint64_t size = 0;
  Compression compression = Compression::kNone;
};

enum class ManifestKind : std::uint8_t { kAsItIs, kOci, kDocker };

struct RepackedManifest {
  std::string json;
  std::string media_type;
};

// The same configuration with these layers, base first. The very bytes the image came with where
// they say just that. kAsItIs becomes OCI's if docker has no word for what a layer is. EINVAL for
// kDocker with zstd; EBADMSG if the number of layers is another one.
Result<RepackedManifest> RepackManifest(const ImageDetail& image,
                                        std::span<const PackedLayer> layers, ManifestKind kind);

}  // namespace strata::layerstore
