// Image archives and layouts: put together so that every part can be a lie, the digests around it
// still right.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/digest.h"
#include "layerstore/archive/unpack_options.h"
#include "tests/unit/layerstore/tar_builder.h"

namespace strata::hostile {

// The members of an archive, or the files of a layout's directory.
using Members = std::vector<support::TarMember>;

std::string AsTar(const Members& members);
// The same as files below `directory`, which must be there. Throws, see must.h.
void AsDirectory(const Members& members, const std::string& directory);

// What an image is made of, and what is changed about it before its digest is taken.
struct ImageSpec {
  std::string layer;    // its blob
  std::string diff_id;  // "sha256:..."
  std::string layer_type = "application/vnd.oci.image.layer.v1.tar";
  std::function<void(std::string&)> config = nullptr;
  std::function<void(std::string&)> manifest = nullptr;
  std::function<void(std::string&)> index = nullptr;  // index.json, or docker's manifest.json

  // Of a layer that is a tar, not compressed.
  static ImageSpec Of(const std::string& tar);
};

struct BuiltImage {
  std::string config;
  std::string manifest;  // OCI
};
BuiltImage Build(const ImageSpec& spec);

// With a layer "layer.tar" and a configuration "config.json".
Members DockerArchive(const ImageSpec& spec);
Members OciLayout(const ImageSpec& spec);

// Replaces the one place of `what`; throws if there is none.
void Replace(std::string& text, const std::string& what, const std::string& by);

// The error that must come, and what it must name. Code 0: it is not tried in this form.
struct Refusal {
  int code = 0;
  std::string says = {};
};

struct HostileArchive {
  std::string name;
  Members members;
  Refusal tar;
  Refusal directory;
  Refusal pull;  // from a registry whose tag is index.json
  layerstore::UnpackLimits limits = {};
};

std::vector<HostileArchive> HostileArchives();

// Archives that look like them and must work: each is one image with a file "f" in its layer.
struct GoodArchive {
  std::string name;
  Members members;
};
std::vector<GoodArchive> GoodArchives();

}  // namespace strata::hostile
