// JSON as the client reads it: from a daemon that may be newer, older or not ours. Looking into a
// document never fails; what is missing or of another type gives the default. Value semantics,
// thread-compatible.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/error.h"

namespace strata::manager::cli {

// Keeps members in the daemon's order, so that `inspect` shows them so.
using Json = nlohmann::ordered_json;

// EBADMSG with the parser's position in the detail.
Result<Json> ParseJson(std::string_view text);
// Compact if `indent` < 0. Bytes that are not UTF-8 become U+FFFD.
std::string DumpJson(const Json& value, int indent = -1);

// A member of an object; a null value if `object` is no object or has no such member. The reference
// lives as long as `object`.
const Json& At(const Json& object, std::string_view key);
// Members along a path of dots: "State.ExitCode".
const Json& AtPath(const Json& object, std::string_view path);

std::string Text(const Json& value, std::string_view otherwise = "");
std::int64_t Number(const Json& value, std::int64_t otherwise = 0);
bool Truth(const Json& value);

inline std::string TextAt(const Json& object, std::string_view path) {
  return Text(AtPath(object, path));
}
inline std::int64_t NumberAt(const Json& object, std::string_view path) {
  return Number(AtPath(object, path));
}
inline bool TruthAt(const Json& object, std::string_view path) {
  return Truth(AtPath(object, path));
}

}  // namespace strata::manager::cli
