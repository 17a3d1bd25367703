// Layers that are made to do harm, and layers that look like those and must work. Every entrance of
// images is tried with all of them: tests/hostile.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "layerstore/archive/unpack_options.h"

namespace strata::hostile {

struct HostileLayer {
  std::string name;
  std::string bytes;  // a tar, plain or compressed
  int code = 0;       // of the error it must give,
  std::string says;   // and what that must name
  layerstore::UnpackLimits limits = {};
};

// `canary` is an absolute path of a directory with a file "file" and a directory "directory" in it,
// which lies beside the store: five levels above a layer that is being unpacked.
std::vector<HostileLayer> HostileLayers(const std::string& canary);

struct GoodLayer {
  std::string name;
  std::string tar;
  // Throws if the unpacked layer is not what it should be.
  std::function<void(const std::string& fs)> check;
};

std::vector<GoodLayer> GoodLayers(const std::string& canary);

}  // namespace strata::hostile
