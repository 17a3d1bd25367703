#include "layerstore/oci/timestamp.h"

#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <optional>

#include "base/utf8.h"

namespace strata::layerstore {
namespace {

constexpr std::int64_t kSecondsPerMinute = 60;
constexpr std::int64_t kSecondsPerHour = 3600;
constexpr std::int64_t kSecondsPerDay = 86400;

// Takes digits and separators off the front of a text; remembers whether all of it fitted.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}

  int Digits(std::size_t count) {
    int value = 0;
    const std::string_view digits = rest_.substr(0, count);
    const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (digits.size() != count || code != std::errc() || end != digits.data() + count ||
        digits.front() == '-') {
      ok_ = false;
      return 0;
    }
    rest_.remove_prefix(count);
    return value;
  }

  void Literal(std::string_view either) {
    if (rest_.empty() || either.find(rest_.front()) == std::string_view::npos) {
      ok_ = false;
    } else {
      rest_.remove_prefix(1);
    }
  }

  void Fraction() {
    if (!rest_.starts_with('.')) return;
    const std::size_t end = rest_.find_first_not_of("0123456789", 1);
    if (end == 1 || end == std::string_view::npos) ok_ = false;
    rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end);
  }

  std::int64_t Offset() {
    if (rest_ == "Z" || rest_ == "z") return 0;
    const bool west = rest_.starts_with('-');
    Literal("+-");
    const int hours = Digits(2);
    Literal(":");
    const int minutes = Digits(2);
    if (!rest_.empty()) ok_ = false;
    const std::int64_t offset = hours * kSecondsPerHour + minutes * kSecondsPerMinute;
    return west ? -offset : offset;
  }

  bool ok() const { return ok_; }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace

Result<std::int64_t> ParseRfc3339(std::string_view text) {
  Scanner scanner(text);
  const int year = scanner.Digits(4);
  scanner.Literal("-");
  const auto month = static_cast<unsigned>(scanner.Digits(2));
  scanner.Literal("-");
  const auto day = static_cast<unsigned>(scanner.Digits(2));
  scanner.Literal("Tt ");
  const int hour = scanner.Digits(2);
  scanner.Literal(":");
  const int minute = scanner.Digits(2);
  scanner.Literal(":");
  const int second = scanner.Digits(2);
  scanner.Fraction();
  const std::int64_t offset = scanner.Offset();
  const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(month),
                                         std::chrono::day(day)};
  if (!scanner.ok() || !date.ok() || hour > 23 || minute > 59 || second > 60) {
    return Fail(EINVAL, "timestamp", "'" + ShownText(text) + "' is not RFC 3339");
  }
  const auto days = std::chrono::sys_days(date).time_since_epoch().count();
  return days * kSecondsPerDay + hour * kSecondsPerHour + minute * kSecondsPerMinute + second -
         offset;
}

std::string FormatRfc3339(std::int64_t unix_seconds) {
  const std::chrono::sys_seconds time{std::chrono::seconds(unix_seconds)};
  const auto days = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date{days};
  const std::chrono::hh_mm_ss clock{time - days};
  std::array<char, 64> text;
  std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02lld:%02lld:%02lldZ",
                static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                static_cast<unsigned>(date.day()), static_cast<long long>(clock.hours().count()),
                static_cast<long long>(clock.minutes().count()),
                static_cast<long long>(clock.seconds().count()));
  return text.data();
}

}  // namespace strata::layerstore
