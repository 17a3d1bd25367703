// One image on its way into an archive. Private to this folder.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "layerstore/meta/image_store.h"
#include "layerstore/oci/reference.h"
#include "layerstore/save/layer_source.h"
#include "layerstore/save/repacked_manifest.h"

namespace strata::layerstore {

struct SavedImage {
  ImageDetail detail;
  std::vector<Reference> names;                          // sorted; each with a tag
  std::vector<std::shared_ptr<const LayerForm>> layers;  // base first
};

// An index that names stand for, which has its own place in a layout.
struct SavedIndex {
  ImageIndex index;  // its members are among the saved images
  std::vector<Reference> names;
};

// An OCI layout: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
// `with_docker_manifest`: and docker-archive's table of contents beside the layout's own.
Result<> WriteOciLayout(std::span<const SavedImage> images, std::span<const SavedIndex> indexes,
                        bool with_docker_manifest, const ByteSink& sink);

// docker-archive as it was before version 25, with what versions before 1.10 read.
// https://github.com/moby/docker-image-spec/blob/main/v1.2.md
Result<> WriteDockerArchive(std::span<const SavedImage> images, const ByteSink& sink);

}  // namespace strata::layerstore
