// Sizes, spans of time and points in time as people read them, in docker's wording.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace strata::manager::cli {

// Powers of 1000, three significant digits: "117MB", "1.84kB", "0B".
std::string HumanSize(std::int64_t bytes);

// "Less than a second", "5 minutes", "About an hour", "3 weeks".
std::string HumanDuration(std::chrono::seconds duration);

// "3 minutes ago"; "N/A" for a time before 1970.
std::string Ago(std::int64_t unix_seconds);

// "2026-05-04 10:11:12 +0000 UTC" in the local time zone.
std::string FullTime(std::int64_t unix_seconds);

// Seconds since 1970 of an RFC 3339 time ("2026-05-04T10:11:12.123456789Z"). EINVAL.
Result<std::int64_t> ParseTime(std::string_view text);

// What `logs --since` takes, as the API wants it: an RFC 3339 time, seconds since 1970 (with a
// fraction), or a duration before now ("10m", "1h30m", "3d12h"). EINVAL.
Result<std::string> TimeArgument(std::string_view text);

// "64m", "1.5g", "1024": bytes, in powers of 1024. EINVAL.
Result<std::int64_t> ParseBytes(std::string_view text);

}  // namespace strata::manager::cli
