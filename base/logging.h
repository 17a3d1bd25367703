// Structured logging: a message and key=value fields, as text or as one JSON object a line, on
// stderr. Thread-safe. Before Configure() the level comes from STRATA_LOG
// (trace|debug|info|warn|error|off, default warn) and the form from STRATA_LOG_FORMAT (text|json,
// default text).
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

#include "base/error.h"

namespace strata::log {

enum class Level : std::uint8_t { kTrace, kDebug, kInfo, kWarn, kError, kOff };
enum class Format : std::uint8_t { kText, kJson };

// One key and its value; both must outlive the call they are passed to.
struct Field {
  template <std::integral T>
  Field(std::string_view k, T v) : key(k) {
    if constexpr (std::same_as<T, bool>) {
      value = v;
    } else if constexpr (std::is_signed_v<T>) {
      value = static_cast<std::int64_t>(v);
    } else {
      value = static_cast<std::uint64_t>(v);
    }
  }
  Field(std::string_view k, double v) : key(k), value(v) {}
  Field(std::string_view k, std::string_view v) : key(k), value(v) {}
  Field(std::string_view k, const char* v) : key(k), value(std::string_view(v)) {}
  Field(std::string_view k, const std::string& v) : key(k), value(std::string_view(v)) {}

  std::string_view key;
  std::variant<bool, std::int64_t, std::uint64_t, double, std::string_view> value;
};
using Fields = std::initializer_list<Field>;

// EINVAL with the bad word in the detail if it is none of the names above.
Result<Level> ParseLevel(std::string_view name);
Result<Format> ParseFormat(std::string_view name);

// `program` is put in front of text lines and into JSON as "program". Call once, early in main().
void Configure(std::string_view program, Level level, Format format);

// The defaults from the environment; a word that does not parse is an error for main() to report.
Result<Level> LevelFromEnvironment();
Result<Format> FormatFromEnvironment();

bool Enabled(Level level) noexcept;
void Write(Level level, std::string_view message, Fields fields);

inline void Debug(std::string_view message, Fields fields = {}) {
  if (Enabled(Level::kDebug)) Write(Level::kDebug, message, fields);
}
inline void Info(std::string_view message, Fields fields = {}) {
  if (Enabled(Level::kInfo)) Write(Level::kInfo, message, fields);
}
inline void Warn(std::string_view message, Fields fields = {}) {
  if (Enabled(Level::kWarn)) Write(Level::kWarn, message, fields);
}
inline void Error(std::string_view message, Fields fields = {}) {
  if (Enabled(Level::kError)) Write(Level::kError, message, fields);
}

}  // namespace strata::log
