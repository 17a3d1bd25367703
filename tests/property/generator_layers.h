// The layer half of the generator.
#pragma once

#include <vector>

#include "tests/property/generator_names.h"
#include "tests/property/sequence.h"

namespace strata::property {

// `count` layers, bottom first. What they contain is added to `names`.
std::vector<std::vector<LayerCommand>> GenerateLayers(Random& random, NamePool& names, int count);

}  // namespace strata::property
