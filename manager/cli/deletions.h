// What a removal took away, for people.
#pragma once

#include "manager/cli/json.h"

namespace strata::manager::cli {

// A line for each of docker's {"Untagged": name} and {"Deleted": id}.
void PrintDeletions(const Json& deletions);

}  // namespace strata::manager::cli
