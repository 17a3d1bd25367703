// Layers with all that is odd about those of real images, from a seed: the same on every machine.
#pragma once

#include <cstdint>

#include "tests/property/layers/layer_entry.h"

namespace strata::property {

struct RandomLayersOptions {
  // Bytes that will stand in front of all names.
  std::size_t prefix = 0;
  // Only what other programs read as well, too.
  bool for_peers = false;
};

LayerCase MakeRandomLayers(std::uint64_t seed, const RandomLayersOptions& options = {});

}  // namespace strata::property
