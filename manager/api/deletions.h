// What a removal took away, as docker answers it. Include from .cc files only.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "manager/image/image_service.h"

namespace strata::manager {

// [{"Untagged": name}, {"Deleted": id}, ...]
nlohmann::json DeletionsJson(const std::vector<ImageDeletion>& deletions);

}  // namespace strata::manager
