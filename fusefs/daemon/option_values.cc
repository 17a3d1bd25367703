#include "fusefs/daemon/option_values.h"

#include <charconv>
#include <system_error>

namespace strata::fusefs {

std::unexpected<Error> Complain(std::string text) { return Fail(EINVAL, "", std::move(text)); }

Result<unsigned> ParseNumber(std::string_view name, std::string_view text, unsigned low,
                             unsigned high) {
  unsigned number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < low || number > high) {
    return Complain("option '" + std::string(name) + "': '" + std::string(text) +
                    "' is not a number from " + std::to_string(low) + " to " +
                    std::to_string(high));
  }
  return number;
}

Result<std::uint64_t> ParseSize(std::string_view name, std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  constexpr std::string_view kUnits = "KMGT";
  const std::size_t power = unit.empty() ? 0 : kUnits.find(unit[0]) + 1;
  const bool valid = error == std::errc() && unit.size() <= 1 && (unit.empty() || power != 0) &&
                     number <= (std::uint64_t{1} << 62U) >> (10 * power);
  if (!valid) {
    return Complain("option '" + std::string(name) + "': '" + std::string(text) +
                    "' is not a size like 4096, 64K, 1M or 2G");
  }
  return number << (10 * power);
}

}  // namespace strata::fusefs
