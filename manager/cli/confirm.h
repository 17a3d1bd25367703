// Asking before something is removed for good.
#pragma once

#include <string_view>

#include "base/error.h"

namespace strata::manager::cli {

// Shows the warning and asks on standard error; true for an answer that begins with y. Without an
// answer (end of input) it is no.
Result<bool> Confirm(std::string_view warning);

}  // namespace strata::manager::cli
