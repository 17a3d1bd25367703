#include "layerstore/archive/unpack_options.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <string>
#include <utility>
#include <variant>

#include "base/try.h"
#include "base/utf8.h"

namespace strata::layerstore {
namespace {

using Member = std::variant<std::uint64_t UnpackLimits::*, std::uint32_t UnpackLimits::*>;

struct Limit {
  std::string_view name;
  Member member;
};

constexpr std::array kLimits = {Limit{"entries", &UnpackLimits::entries},
                                Limit{"total-bytes", &UnpackLimits::total_bytes},
                                Limit{"expansion-ratio", &UnpackLimits::expansion_ratio},
                                Limit{"ratio-floor", &UnpackLimits::ratio_floor},
                                Limit{"path-depth", &UnpackLimits::path_depth},
                                Limit{"path-bytes", &UnpackLimits::path_bytes},
                                Limit{"name-bytes", &UnpackLimits::name_bytes},
                                Limit{"xattrs", &UnpackLimits::xattrs},
                                Limit{"xattr-bytes", &UnpackLimits::xattr_bytes},
                                Limit{"kept-bytes", &UnpackLimits::kept_bytes}};

// Nothing if it is no number, or too large a one.
std::uint64_t ParseSize(std::string_view text) {
  constexpr std::string_view kUnits = "KMGT";
  std::uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc()) return 0;
  unsigned shift = 0;
  if (rest != end) {
    const std::size_t unit = kUnits.find(*rest);
    if (unit == std::string_view::npos || rest + 1 != end) return 0;
    shift = static_cast<unsigned>(10 * (unit + 1));
  }
  if (number > std::numeric_limits<std::uint64_t>::max() >> shift) return 0;
  return number << shift;
}

}  // namespace

UnpackLimits UnpackLimits::None() {
  UnpackLimits limits;
  for (const Limit& limit : kLimits) {
    std::visit(
        [&](auto member) {
          using Number = std::remove_reference_t<decltype(limits.*member)>;
          limits.*member = std::numeric_limits<Number>::max();
        },
        limit.member);
  }
  return limits;
}

std::vector<std::string_view> LimitNames() {
  std::vector<std::string_view> names;
  for (const Limit& limit : kLimits) names.push_back(limit.name);
  return names;
}

Result<> SetLimit(UnpackLimits& limits, std::string_view name, std::string_view value) {
  const auto* const limit = std::ranges::find(kLimits, name, &Limit::name);
  if (limit == kLimits.end()) {
    std::string names;
    for (const Limit& one : kLimits) names += (names.empty() ? "" : ", ") + std::string(one.name);
    return Fail(EINVAL, "limits", "'" + ShownText(name) + "' is no limit; there are " + names);
  }
  const std::uint64_t number = ParseSize(value);
  const bool fits = std::visit(
      [&](auto member) {
        using Number = std::remove_reference_t<decltype(limits.*member)>;
        if (number == 0 || !std::in_range<Number>(number)) return false;
        limits.*member = static_cast<Number>(number);
        return true;
      },
      limit->member);
  if (fits) return {};
  return Fail(EINVAL, "limits",
              "'" + ShownText(value) + "' is no number for " + std::string(name) +
                  "; K, M, G or T may follow it");
}

std::unexpected<Error> OverLimit(const UnpackLimits& limits, const char* op, std::string_view name,
                                 std::uint64_t value, std::string_view what) {
  const std::string number = std::to_string(value);
  std::string text = "more than " + number + " " + std::string(what) + "; the limit is " +
                     std::string(name) + "=" + number;
  if (limits.setting != nullptr) text += std::string(" (") + limits.setting + ")";
  return Fail(E2BIG, op, std::move(text));
}

Result<> CheckExpansion(const UnpackLimits& limits, std::uint64_t consumed,
                        std::uint64_t produced) {
  if (produced <= limits.ratio_floor || produced / limits.expansion_ratio <= consumed) return {};
  return OverLimit(limits, "decompress", "expansion-ratio", limits.expansion_ratio,
                   "times its size: the data expands too much");
}

}  // namespace strata::layerstore
