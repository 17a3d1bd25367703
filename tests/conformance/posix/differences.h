// Where a mount answers otherwise than the native filesystem and is right to: the one list of them.
// Each entry is checked to be still true wherever it applies.
#pragma once

#include <span>
#include <string_view>

namespace strata::conformance {

struct Difference {
  std::string_view variant;  // fnmatch(3) pattern of "KIND/COPYUP/PASSTHROUGH[/MORE][@PLACE]"
  std::string_view name;     // the case
  std::string_view line;     // its text; "*": any of the case
  std::string_view mount;    // what the mount answers
  std::string_view reason;
};

std::span<const Difference> KnownDifferences();

}  // namespace strata::conformance
