// What every refusal of an image must be like, whichever way it came.
#pragma once

#include <functional>
#include <string>

#include "base/error.h"
#include "layerstore/store/store.h"
#include "tests/hostile/canary.h"

namespace strata::hostile {

// `take` must fail with this code and say `says`, in bounded memory and without characters that
// steer a terminal; it must harm nothing beside the store and leave nothing in it. Returns the
// error's text, "" if there was none.
std::string ExpectRefusal(layerstore::Store& store, const Canary& canary,
                          const std::function<Result<>()>& take, int code, const std::string& says);

}  // namespace strata::hostile
