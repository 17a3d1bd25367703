#include "manager/cli/units.h"

#include <array>
#include <cctype>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "base/try.h"
#include "manager/cli/flags.h"

namespace strata::manager::cli {
namespace {

using std::chrono::seconds;

std::int64_t Now() {
  return std::chrono::duration_cast<seconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string Counted(std::int64_t count, std::string_view unit) {
  return std::to_string(count) + " " + std::string(unit);
}

// A run of digits at the front of `text`, taken off.
bool TakeDigits(std::string_view& text, std::size_t count, int& value) {
  if (text.size() < count) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + count, value);
  if (error != std::errc() || end != text.data() + count || text.front() == '-') return false;
  text.remove_prefix(count);
  return true;
}

bool TakeChar(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

// "Z" or "+hh:mm" at the end of a time, as seconds east of Greenwich.
bool TakeZone(std::string_view& text, std::int64_t& offset) {
  offset = 0;
  if (TakeChar(text, "Zz")) return true;
  const bool west = text.starts_with('-');
  int hours = 0;
  int minutes = 0;
  if (!TakeChar(text, "+-") || !TakeDigits(text, 2, hours) || !TakeChar(text, ":") ||
      !TakeDigits(text, 2, minutes)) {
    return false;
  }
  offset = (hours * 60 + minutes) * 60 * (west ? -1 : 1);
  return true;
}

// "3d12h", "1h30m", "90s", "500ms" in seconds; negative if it is none.
double DurationSeconds(std::string_view text) {
  double total = 0;
  if (text.empty()) return -1;
  while (!text.empty()) {
    double number = 0;
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
    if (error != std::errc() || number < 0) return -1;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    if (text.starts_with("ms")) {
      total += number / 1000;
      text.remove_prefix(2);
    } else if (TakeChar(text, "d")) {
      total += number * 24 * 3600;
    } else if (TakeChar(text, "h")) {
      total += number * 3600;
    } else if (TakeChar(text, "m")) {
      total += number * 60;
    } else if (TakeChar(text, "s")) {
      total += number;
    } else {
      return -1;
    }
  }
  return total;
}

}  // namespace

std::string HumanSize(std::int64_t bytes) {
  constexpr std::array<const char*, 7> kUnits{"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1000.0 && unit + 1 < kUnits.size()) {
    value /= 1000.0;
    ++unit;
  }
  std::array<char, 32> text{};
  // %.3g would print 999.6 as "1e+03".
  const int decimals = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  std::snprintf(text.data(), text.size(), "%.*f", decimals, value);
  std::string number(text.data());
  if (number.find('.') != std::string::npos) {
    while (number.ends_with('0')) number.pop_back();
    if (number.ends_with('.')) number.pop_back();
  }
  return number + kUnits[unit];
}

std::string HumanDuration(seconds duration) {
  const std::int64_t s = duration.count();
  const std::int64_t minutes = s / 60;
  const std::int64_t hours = (s + 1800) / 3600;
  const std::int64_t days = hours / 24;
  if (s < 1) return "Less than a second";
  if (s == 1) return "1 second";
  if (s < 60) return Counted(s, "seconds");
  if (minutes == 1) return "About a minute";
  if (minutes < 60) return Counted(minutes, "minutes");
  if (hours == 1) return "About an hour";
  if (hours < 48) return Counted(hours, "hours");
  if (days < 14) return Counted(days, "days");
  if (days < 60) return Counted(days / 7, "weeks");
  if (days < 730) return Counted(days / 30, "months");
  return Counted(days / 365, "years");
}

std::string Ago(std::int64_t unix_seconds) {
  if (unix_seconds <= 0) return "N/A";
  return HumanDuration(seconds(Now() - unix_seconds)) + " ago";
}

std::string FullTime(std::int64_t unix_seconds) {
  const auto when = static_cast<std::time_t>(unix_seconds);
  std::tm local{};
  ::localtime_r(&when, &local);
  std::array<char, 64> text{};
  const std::size_t length =
      std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S %z %Z", &local);
  return std::string(text.data(), length);
}

Result<std::int64_t> ParseTime(std::string_view text) {
  const std::string_view whole = text;
  std::tm time{};
  std::int64_t offset = 0;
  bool good = TakeDigits(text, 4, time.tm_year) && TakeChar(text, "-") &&
              TakeDigits(text, 2, time.tm_mon) && TakeChar(text, "-") &&
              TakeDigits(text, 2, time.tm_mday) && TakeChar(text, "Tt ") &&
              TakeDigits(text, 2, time.tm_hour) && TakeChar(text, ":") &&
              TakeDigits(text, 2, time.tm_min) && TakeChar(text, ":") &&
              TakeDigits(text, 2, time.tm_sec);
  if (good && TakeChar(text, ".")) {
    while (!text.empty() && std::isdigit(static_cast<unsigned char>(text.front())) != 0) {
      text.remove_prefix(1);
    }
  }
  good = good && TakeZone(text, offset) && text.empty();
  if (!good) return UsageError("'" + std::string(whole) + "' is not a time");
  time.tm_year -= 1900;
  time.tm_mon -= 1;
  return static_cast<std::int64_t>(::timegm(&time)) - offset;
}

Result<std::string> TimeArgument(std::string_view text) {
  if (text.find_first_not_of("0123456789.") == std::string_view::npos && !text.empty()) {
    return std::string(text);
  }
  if (const double ago = DurationSeconds(text); ago >= 0) {
    const double now =
        std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    std::array<char, 64> out{};
    std::snprintf(out.data(), out.size(), "%.9f", now - ago);
    return std::string(out.data());
  }
  if (const auto time = ParseTime(text)) return std::to_string(*time);
  return UsageError("'" + std::string(text) +
                    "' is neither a time (2026-01-02T15:04:05Z), seconds since 1970 nor a duration "
                    "(10m)");
}

Result<std::int64_t> ParseBytes(std::string_view text) {
  double number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  double factor = 1;
  constexpr std::string_view kUnits = "kmgtp";
  if (!unit.empty()) {
    const char letter = static_cast<char>(std::tolower(static_cast<unsigned char>(unit.front())));
    const auto power = kUnits.find(letter);
    if (power != std::string_view::npos) {
      for (std::size_t i = 0; i <= power; ++i) factor *= 1024;
      unit.remove_prefix(1);
    }
    if (unit == "b" || unit == "B" || unit == "ib" || unit == "iB") unit = {};
  }
  const double bytes = number * factor;
  if (error != std::errc() || !unit.empty() || bytes < 0 || bytes > 9e18) {
    return UsageError("'" + std::string(text) + "' is not a size (like 64m)");
  }
  return static_cast<std::int64_t>(bytes);
}

}  // namespace strata::manager::cli
