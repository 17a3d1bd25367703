#include "layerstore/save/convert.h"

#include <vector>

#include "base/try.h"
#include "layerstore/oci/manifest.h"
#include "layerstore/save/layer_source.h"
#include "layerstore/store/store.h"

namespace strata::layerstore {
namespace {

// A form of the layer that the store has from then on.
Result<PackedLayer> Keep(Store& store, Lease& lease, const Digest& diff_id, const Digest& wanted,
                         std::optional<Compression> compression) {
  LayerSource source(store, lease);
  STRATA_TRY_ASSIGN(const auto found, source.Find(diff_id, wanted, compression));
  if (found) return found->packed();
  PackedLayer layer;
  layer.compression = compression.value_or(Compression::kGzip);
  STRATA_TRY_ASSIGN(const auto writer, store.blobs().Begin(lease));
  STRATA_TRY(source.Pack(diff_id, layer.compression,
                         [&](std::string_view packed) { return writer->Write(packed); }));
  STRATA_TRY_ASSIGN(const BlobInfo blob, writer->Commit(std::nullopt, std::nullopt));
  layer.digest = blob.digest;
  layer.size = blob.size;
  return layer;
}

}  // namespace

Result<Image> ConvertImage(Store& store, const std::string& name_or_id,
                           const ConvertOptions& options) {
  STRATA_TRY_ASSIGN(const ImageDetail image, store.images().Inspect(name_or_id));
  STRATA_TRY_ASSIGN(const Manifest manifest,
                    ParseManifest(image.manifest_json, image.image.manifest_media_type));
  if (options.compression == Compression::kZstd && options.kind == ManifestKind::kDocker) {
    return Fail(EINVAL, "convert", "docker's manifests know no zstd");
  }
  STRATA_TRY_ASSIGN(Lease lease, store.NewLease());
  std::vector<PackedLayer> layers;
  for (std::size_t i = 0; i < image.image.diff_ids.size(); ++i) {
    const Digest& diff_id = image.image.diff_ids[i];
    const Digest wanted = i < manifest.layers.size() ? manifest.layers[i].digest : Digest();
    STRATA_TRY(lease.PinLayer(diff_id));
    STRATA_TRY_ASSIGN(const PackedLayer layer,
                      Keep(store, lease, diff_id, wanted, options.compression));
    layers.push_back(layer);
  }
  STRATA_TRY_ASSIGN(const RepackedManifest repacked, RepackManifest(image, layers, options.kind));
  STRATA_TRY_ASSIGN(const Manifest after, ParseManifest(repacked.json, repacked.media_type));
  // Rows before the manifest that needs them; a blob nobody names is the collector's.
  for (std::size_t i = 0; i < layers.size(); ++i) {
    STRATA_TRY_ASSIGN(const bool kept, store.blobs().HasOwn(layers[i].digest));
    STRATA_TRY(store.layers().AddBlob({layers[i].digest, layers[i].size, after.layers[i].media_type,
                                       image.image.diff_ids[i], kept}));
  }
  return store.images().Put({image.config_json, repacked.json, repacked.media_type, {}});
}

}  // namespace strata::layerstore
