#include "fusefs/transport/spin.h"

#include <algorithm>

namespace strata::fusefs {
namespace {

// A few long pauses in a busy stretch are forgiven; after that many in a row polling stops.
constexpr int kMaxCredit = 4;
// How many requests that came in time win back the right to poll on a contended processor.
constexpr int kContendedCredit = -64;
// An interruption is forgotten after that many requests.
constexpr int kInterruptionMemory = 64;

}  // namespace

void AdaptiveSpin::Arrived(Duration waited) {
  if (interrupted_ > 0) --interrupted_;
  // What comes right after polling has given up was probably waiting for it: on our processor.
  if (Budget() > Duration::zero() && waited > budget_ && waited < 3 * budget_) {
    Interrupted();
    return;
  }
  credit_ = std::clamp(credit_ + (waited <= budget_ ? 1 : -1), std::min(credit_, 0), kMaxCredit);
}

void AdaptiveSpin::Interrupted() {
  if (interrupted_ > 0) credit_ = kContendedCredit;
  interrupted_ = kInterruptionMemory;
}

}  // namespace strata::fusefs
