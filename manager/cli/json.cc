#include "manager/cli/json.h"

#include <limits>
#include <nlohmann/json.hpp>

namespace strata::manager::cli {

Result<Json> ParseJson(std::string_view text) {
  Json value = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) {
    constexpr std::size_t kShown = 80;
    return Fail(EBADMSG, "parse JSON", "not JSON: " + std::string(text.substr(0, kShown)));
  }
  return value;
}

std::string DumpJson(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

const Json& At(const Json& object, std::string_view key) {
  static const Json null;
  if (!object.is_object()) return null;
  const auto member = object.find(std::string(key));
  return member == object.end() ? null : *member;
}

const Json& AtPath(const Json& object, std::string_view path) {
  const Json* value = &object;
  while (true) {
    const auto dot = path.find('.');
    value = &At(*value, path.substr(0, dot));
    if (dot == std::string_view::npos) return *value;
    path.remove_prefix(dot + 1);
  }
}

std::string Text(const Json& value, std::string_view otherwise) {
  return value.is_string() ? value.get<std::string>() : std::string(otherwise);
}

std::int64_t Number(const Json& value, std::int64_t otherwise) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<std::uint64_t>();
    constexpr auto kMax = std::numeric_limits<std::int64_t>::max();
    return number > static_cast<std::uint64_t>(kMax) ? kMax : static_cast<std::int64_t>(number);
  }
  return value.is_number() ? value.get<std::int64_t>() : otherwise;
}

bool Truth(const Json& value) { return value.is_boolean() && value.get<bool>(); }

}  // namespace strata::manager::cli
