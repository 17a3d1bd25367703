// Makes a failing sequence small: delta debugging over its operations and its layers.
#pragma once

#include <chrono>
#include <functional>

#include "tests/property/sequence.h"

namespace strata::property {

// `fails` runs a candidate on its own and says whether it still fails. Returns the smallest failing
// sequence found within the time.
Sequence Shrink(Sequence sequence, const std::function<bool(const Sequence&)>& fails,
                std::chrono::seconds budget);

}  // namespace strata::property
