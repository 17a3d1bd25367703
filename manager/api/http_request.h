// A request's head, taken apart: what handlers look at.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace strata::manager {

// The API versions spoken: "1.24" to "1.47".
inline constexpr int kApiMajor = 1;
inline constexpr int kApiMinorMin = 24;
inline constexpr int kApiMinorMax = 47;
std::string ApiVersionText(int minor);

struct HttpRequest {
  std::string method;  // "GET"
  std::string target;  // as received
  std::string path;    // percent-decoded, without the version prefix
  // The version the path began with, the newest if it had none. May be out of range.
  int api_major = kApiMajor;
  int api_minor = kApiMinorMax;
  std::vector<std::pair<std::string, std::string>> query;    // percent-decoded
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case

  // The first value; "" if there is none.
  std::string_view Query(std::string_view name) const;
  bool HasQuery(std::string_view name) const;
  // docker's rule: "", "0", "no", "false", "none" are false, everything else is true.
  bool QueryFlag(std::string_view name, bool absent = false) const;
  // EINVAL unless absent or a decimal integer.
  Result<std::int64_t> QueryInt(std::string_view name, std::int64_t absent) const;
  // Nanoseconds from "1700000000" or "1700000000.123456789"; EINVAL unless absent or such a time.
  Result<std::int64_t> QueryTime(std::string_view name, std::int64_t absent) const;
  std::string_view Header(std::string_view lower_case_name) const;
};

// Fills path, version and query from a target like "/v1.47/containers/json?all=1". EINVAL for bad
// percent-encoding, NUL bytes, or a target that is no absolute path.
Result<> ParseTarget(std::string_view target, HttpRequest& request);

}  // namespace strata::manager
