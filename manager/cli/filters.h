// --filter KEY=VALUE as the API's `filters` parameter.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace strata::manager::cli {

// {"label": ["a=b"], "status": ["exited"]} as JSON text, "" without filters. EINVAL for a filter
// without "=".
Result<std::string> FiltersParameter(const std::vector<std::string>& filters);

}  // namespace strata::manager::cli
