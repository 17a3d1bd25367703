#include "layerstore/layer/layer_media_type.h"

#include "layerstore/oci/media_types.h"

namespace strata::layerstore {

std::string_view LayerMediaType(Compression compression, bool docker) {
  switch (compression) {
    case Compression::kGzip:
      return docker ? media_type::kDockerLayerGzip : media_type::kOciLayerGzip;
    case Compression::kZstd:
      return media_type::kOciLayerZstd;
    case Compression::kNone:
      break;
  }
  return docker ? media_type::kDockerLayer : media_type::kOciLayer;
}

// Layers that may not be given on, and those of other programs, differ in the middle of their type.
std::optional<Compression> CompressionOfMediaType(std::string_view type) {
  if (type.ends_with("gzip")) return Compression::kGzip;
  if (type.ends_with("zstd")) return Compression::kZstd;
  if (type.ends_with(".tar")) return Compression::kNone;
  return std::nullopt;
}

}  // namespace strata::layerstore
