#include "fusefs/transport/spin.h"

#include <algorithm>

namespace strata::fusefs {
namespace {

// A few long pauses in a busy stretch are forgiven; after that many in a row polling stops.
constexpr int kMaxCredit = 4;

}  // namespace

void AdaptiveSpin::Arrived(Duration waited) {
  credit_ = std::clamp(credit_ + (waited <= budget_ ? 1 : -1), 0, kMaxCredit);
}

}  // namespace strata::fusefs
