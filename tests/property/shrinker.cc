#include "tests/property/shrinker.h"

#include <algorithm>
#include <utility>

namespace strata::property {
namespace {

using Clock = std::chrono::steady_clock;
using Fails = std::function<bool(const Sequence&)>;

class Shrinker {
 public:
  Shrinker(Sequence sequence, const Fails& fails, Clock::time_point deadline)
      : best_(std::move(sequence)), fails_(fails), deadline_(deadline) {}

  Sequence Run() {
    for (bool smaller = true; smaller && !OutOfTime();) {
      smaller = ReduceList([](Sequence& s) -> auto& { return s.operations; });
      for (std::size_t i = 0; i < best_.layers.size(); ++i) {
        smaller |= ReduceList([i](Sequence& s) -> auto& { return s.layers[i]; });
      }
      smaller |= DropEmptyLayers();
      smaller |= SimplifyOperations();
    }
    return std::move(best_);
  }

 private:
  bool OutOfTime() const { return Clock::now() >= deadline_; }

  bool Try(Sequence candidate) {
    if (OutOfTime() || !fails_(candidate)) return false;
    best_ = std::move(candidate);
    return true;
  }

  // Removes chunks of the list that `list` picks, of half its length down to one element.
  template <class List>
  bool ReduceList(List list) {
    bool smaller = false;
    for (std::size_t chunk = std::max<std::size_t>(list(best_).size() / 2, 1); chunk > 0;
         chunk /= 2) {
      for (std::size_t from = 0; from < list(best_).size();) {
        Sequence candidate = best_;
        auto& elements = list(candidate);
        const auto first = elements.begin() + static_cast<std::ptrdiff_t>(from);
        elements.erase(
            first, first + static_cast<std::ptrdiff_t>(std::min(chunk, elements.size() - from)));
        if (Try(std::move(candidate))) {
          smaller = true;
        } else {
          from += chunk;
        }
        if (OutOfTime()) return smaller;
      }
    }
    return smaller;
  }

  bool DropEmptyLayers() {
    bool smaller = false;
    for (std::size_t i = 0; i < best_.layers.size() && best_.layers.size() > 1;) {
      const bool is_upper = best_.upper_prefilled && i + 1 == best_.layers.size();
      if (!best_.layers[i].empty() ||
          (!is_upper && best_.upper_prefilled && i == 0 && best_.layers.size() == 2)) {
        ++i;
        continue;
      }
      Sequence candidate = best_;
      candidate.layers.erase(candidate.layers.begin() + static_cast<std::ptrdiff_t>(i));
      if (is_upper) candidate.upper_prefilled = false;
      if (Try(std::move(candidate))) {
        smaller = true;
      } else {
        ++i;
      }
    }
    return smaller;
  }

  // The same operation, by root, from the root, of a few bytes.
  bool SimplifyOperations() {
    bool smaller = false;
    for (std::size_t i = 0; i < best_.operations.size() && !OutOfTime(); ++i) {
      Sequence candidate = best_;
      Operation& op = candidate.operations[i];
      op.as = 0;
      op.base = 0;
      if (op.b > 10) op.b = 10;
      if (op != best_.operations[i]) smaller |= Try(std::move(candidate));
    }
    return smaller;
  }

  Sequence best_;
  const Fails& fails_;
  const Clock::time_point deadline_;
};

}  // namespace

Sequence Shrink(Sequence sequence, const Fails& fails, std::chrono::seconds budget) {
  return Shrinker(std::move(sequence), fails, Clock::now() + budget).Run();
}

}  // namespace strata::property
