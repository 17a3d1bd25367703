// `strata image convert`: the same image in other bytes.
#pragma once

#include <optional>
#include <string>

#include "base/error.h"
#include "layerstore/archive/compression.h"
#include "layerstore/meta/image_store.h"
#include "layerstore/save/repacked_manifest.h"

namespace strata::layerstore {

class Store;

struct ConvertOptions {
  std::optional<Compression> compression;  // of all layers; none: as they are
  ManifestKind kind = ManifestKind::kAsItIs;
};

// Gives an image a manifest of that kind, with layers packed that way, which the store keeps from
// then on for push and save (but plain ones, which the layers themselves give); forms that are kept
// already are used again. The configuration stays,
// and so do the image's id and names. Errors as SavedImages::Prepare(), and EINVAL for zstd in a
// docker manifest; then the image is what it was.
Result<Image> ConvertImage(Store& store, const std::string& name_or_id,
                           const ConvertOptions& options);

}  // namespace strata::layerstore
