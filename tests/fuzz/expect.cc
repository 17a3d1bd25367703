#include <cstdio>
#include <cstdlib>
#include <string>

#include "tests/fuzz/target.h"

namespace strata::fuzz {

void Expect(bool holds, std::string_view promise) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", std::string(promise).c_str());
  std::abort();
}

}  // namespace strata::fuzz
