// Points in time as image configurations and the Engine API write them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace strata::layerstore {

// Seconds since 1970 of "2024-05-01T12:00:00[.fraction](Z|+hh:mm|-hh:mm)"; the fraction is dropped.
// EINVAL for anything else. https://www.rfc-editor.org/rfc/rfc3339#section-5.6
Result<std::int64_t> ParseRfc3339(std::string_view text);
// "2024-05-01T12:00:00Z".
std::string FormatRfc3339(std::int64_t unix_seconds);

}  // namespace strata::layerstore
