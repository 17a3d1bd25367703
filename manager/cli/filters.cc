#include "manager/cli/filters.h"

#include <nlohmann/json.hpp>

#include "manager/cli/flags.h"
#include "manager/cli/json.h"

namespace strata::manager::cli {

Result<std::string> FiltersParameter(const std::vector<std::string>& filters) {
  if (filters.empty()) return std::string();
  Json parameter = Json::object();
  for (const auto& filter : filters) {
    const auto equals = filter.find('=');
    if (equals == std::string::npos || equals == 0) {
      return UsageError("--filter: '" + filter + "' is not KEY=VALUE");
    }
    parameter[filter.substr(0, equals)].push_back(filter.substr(equals + 1));
  }
  return DumpJson(parameter);
}

}  // namespace strata::manager::cli
