// The functions a --format template may call, and how its values print.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "manager/cli/json.h"

namespace strata::manager::cli {

// As Go's %v: strings bare, "[a b]" for arrays, "map[a:1 b:2]" for objects with sorted keys,
// "<no value>" for null.
std::string GoText(const Json& value);

// Go's truth: false, 0, "", null and empty arrays and objects are false.
bool GoTruth(const Json& value);

bool IsTemplateFunction(std::string_view name);

// Calls json, split, join, title, lower, upper, pad, truncate, println, len, index, eq, ne, lt, gt,
// not, and, or, print or slice with evaluated arguments. EINVAL if they do not fit.
Result<Json> CallTemplateFunction(std::string_view name, std::span<const Json> arguments);

}  // namespace strata::manager::cli
