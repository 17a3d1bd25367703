// What the formats of an import have in common. Private to this folder.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "layerstore/import/image_files.h"
#include "layerstore/import/import.h"
#include "layerstore/layer/layer_store.h"
#include "layerstore/meta/lease.h"
#include "layerstore/oci/manifest.h"
#include "layerstore/store/store.h"

namespace strata::layerstore {

// Lives as long as one import.
struct ImportContext {
  Store& store;
  Lease& lease;
  const ImportOptions& options;
};

// Feeds bytes to whoever asks for them.
using Feed = std::function<Result<>(const std::function<Result<>(std::string_view)>&)>;

// Brings one layer in and returns its descriptor for the manifest. `feed` is not called if the
// layer is there.
Result<Descriptor> ImportLayer(const ImportContext& context, LayerIngest ingest, const Feed& feed);

// A layer of an image archive.
struct LayerMember {
  std::string file;
  std::string shown;  // what an error calls it
  LayerIngest ingest = {};
};
// The same for all layers of an image, a few at a time, and their descriptors in the same order.
// The error is the first there was, and names the layer.
Result<std::vector<Descriptor>> ImportLayers(const ImportContext& context, ImageFiles& files,
                                             const std::vector<LayerMember>& layers);

// Puts an image and its names at once; those without a tag or digest get "latest".
Result<ImportedImage> Put(const ImportContext& context, NewImage image,
                          const std::vector<Reference>& names);
// The same for an image made here: writes a manifest for `config_json` and `layers`.
Result<ImportedImage> PutWithManifest(const ImportContext& context, std::string config_json,
                                      std::vector<Descriptor> layers,
                                      const std::vector<Reference>& names);

// The names of an image: the one that was asked for, else those that the archive gives it. EINVAL
// that shows the one that is none.
Result<std::vector<Reference>> NamesFor(const ImportContext& context,
                                        const std::vector<std::string>& texts);

// The formats. Each checks what it reads; archives hold at least one image.
Result<std::vector<ImportedImage>> ImportOciLayout(const ImportContext& context, ImageFiles& files);
Result<std::vector<ImportedImage>> ImportDockerArchive(const ImportContext& context,
                                                       ImageFiles& files);
Result<std::vector<ImportedImage>> ImportLegacyArchive(const ImportContext& context,
                                                       ImageFiles& files);
Result<ImportedImage> ImportRootFilesystem(const ImportContext& context, const Feed& feed);

}  // namespace strata::layerstore
