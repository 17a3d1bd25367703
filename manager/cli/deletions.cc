#include "manager/cli/deletions.h"

#include <nlohmann/json.hpp>
#include <string>

#include "manager/cli/command.h"

namespace strata::manager::cli {

void PrintDeletions(const Json& deletions) {
  for (const Json& deletion : deletions) {
    const std::string untagged = TextAt(deletion, "Untagged");
    if (!untagged.empty()) Print("Untagged: " + untagged + "\n");
    const std::string deleted = TextAt(deletion, "Deleted");
    if (!deleted.empty()) Print("Deleted: " + deleted + "\n");
  }
}

}  // namespace strata::manager::cli
