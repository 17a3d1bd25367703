#include "manager/api/deletions.h"

namespace strata::manager {

nlohmann::json DeletionsJson(const std::vector<ImageDeletion>& deletions) {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& deletion : deletions) {
    const bool untagged = deletion.what == ImageDeletion::What::kUntagged;
    list.push_back({{untagged ? "Untagged" : "Deleted", deletion.name}});
  }
  return list;
}

}  // namespace strata::manager
