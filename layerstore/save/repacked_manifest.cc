#include "layerstore/save/repacked_manifest.h"

#include <algorithm>
#include <cstddef>

#include "base/try.h"
#include "layerstore/layer/layer_media_type.h"
#include "layerstore/oci/manifest.h"
#include "layerstore/oci/media_types.h"

namespace strata::layerstore {
namespace {

bool Same(const Descriptor& before, const PackedLayer& after) {
  return before.digest == after.digest && before.size == after.size;
}

}  // namespace

Result<RepackedManifest> RepackManifest(const ImageDetail& image,
                                        std::span<const PackedLayer> layers, ManifestKind kind) {
  STRATA_TRY_ASSIGN(Manifest manifest,
                    ParseManifest(image.manifest_json, image.image.manifest_media_type));
  if (manifest.layers.size() != layers.size()) {
    return Fail(EBADMSG, "manifest",
                "image " + image.image.id.ToString() + " has " +
                    std::to_string(manifest.layers.size()) + " layers in its manifest, not " +
                    std::to_string(layers.size()));
  }
  if (kind == ManifestKind::kAsItIs && std::ranges::equal(manifest.layers, layers, Same)) {
    return RepackedManifest{image.manifest_json, manifest.media_type};
  }
  const bool zstd = std::ranges::any_of(
      layers, [](const PackedLayer& layer) { return layer.compression == Compression::kZstd; });
  if (zstd && kind == ManifestKind::kDocker) {
    return Fail(EINVAL, "manifest", "docker's manifests know no zstd; choose the OCI kind");
  }
  const bool was_docker = manifest.media_type == media_type::kDockerManifest;
  const bool docker =
      kind == ManifestKind::kDocker || (kind == ManifestKind::kAsItIs && was_docker && !zstd);
  bool changed = docker != was_docker;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    Descriptor& layer = manifest.layers[i];
    const bool same = Same(layer, layers[i]);
    if (same && docker == was_docker) continue;
    changed = true;
    if (!same) layer = {};  // what was said of the other bytes
    layer.digest = layers[i].digest;
    layer.size = layers[i].size;
    layer.media_type = std::string(LayerMediaType(layers[i].compression, docker));
  }
  if (!changed) return RepackedManifest{image.manifest_json, manifest.media_type};
  manifest.media_type =
      std::string(docker ? media_type::kDockerManifest : media_type::kOciManifest);
  manifest.config.media_type =
      std::string(docker ? media_type::kDockerConfig : media_type::kOciConfig);
  return RepackedManifest{manifest.ToJson(), manifest.media_type};
}

}  // namespace strata::layerstore
