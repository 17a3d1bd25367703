// A small image that is real in every part: layers packed by tar(1), with whiteouts, hard links,
// odd modes and xattrs, and a few megabytes of bytes that do not compress.
#pragma once

#include <string>
#include <vector>

#include "base/digest.h"
#include "layerstore/oci/image_config.h"
#include "layerstore/oci/manifest.h"
#include "layerstore/oci/reference.h"
#include "layerstore/store/store.h"

namespace strata::support {

struct SampleLayer {
  std::string tar;
  std::string blob;  // the tar as gzip, if nothing else is said
  Digest digest;     // of `blob`
  Digest diff_id;    // of the tar in it
};

struct SampleImage {
  std::vector<SampleLayer> layers;
  layerstore::ImageConfig config;
  std::string config_json;
  layerstore::Manifest manifest;
  std::string manifest_json;

  Digest id() const { return Digest::Of(config_json); }
  Digest digest() const { return Digest::Of(manifest_json); }
};

// All functions throw when they fail, see must.h.

// Packs the tree at `dir`.
SampleLayer PackLayer(const std::string& dir);
// An image of these layers, base first; `label` makes its id differ from others'.
SampleImage MakeImage(std::vector<SampleLayer> layers, const std::string& label);
// Three layers made under `scratch` (a directory, which must be empty): a base, an addition, and a
// change that deletes files of the base. Images with different labels share the base only.
SampleImage MakeSampleImage(const std::string& scratch, const std::string& label);
// The same with layers that are not compressed, and a manifest of docker's kind or OCI's.
SampleImage WithPlainLayers(const SampleImage& image, bool docker);
// Unpacks the layers into the store and names the image.
layerstore::Image PutImage(layerstore::Store& store, const SampleImage& image,
                           const layerstore::Reference& name);

}  // namespace strata::support
