// Random layer stacks and random operation sequences. The same seed always gives the same
// sequence.
#pragma once

#include <cstdint>

#include "tests/property/sequence.h"

namespace strata::property {

struct GeneratorOptions {
  int layers = 3;  // how many, bottom to top, the upper not counted
  int operations = 40;
  bool upper_prefilled = false;  // one more layer, which becomes the upper directory's content
};

Sequence Generate(std::uint64_t seed, const GeneratorOptions& options);

}  // namespace strata::property
