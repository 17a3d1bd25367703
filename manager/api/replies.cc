#include "manager/api/replies.h"

#include "base/try.h"
#include "manager/container/error_text.h"

namespace strata::manager {
namespace {

using nlohmann::json;

constexpr std::size_t kJsonMax = std::size_t{4} << 20U;
constexpr int kDepthMax = 64;
constexpr const char* kJsonType = "application/json";

// Parsing and destroying deep nesting would recurse as deep.
bool TooDeep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kDepthMax) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

Result<json> ParseJson(std::string_view text) {
  if (TooDeep(text)) return Fail(EINVAL, "json", "invalid JSON: nested too deeply");
  json value = json::parse(text, nullptr, false);
  if (value.is_discarded()) return Fail(EINVAL, "json", "invalid JSON");
  return value;
}

}  // namespace

std::string Dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<> ReplyJson(Exchange& exchange, int status, const json& value) {
  return exchange.Reply(status, kJsonType, Dump(value) + '\n');
}

Result<> ReplyNothing(Exchange& exchange, int status) { return exchange.Reply(status, "", ""); }

int HttpStatusOf(const Error& error) {
  switch (error.code()) {
    case ENOENT:
      return 404;
    case EINVAL:
    case E2BIG:
    case ENAMETOOLONG:
    case EBADMSG:
      return 400;
    case EEXIST:
    case EBUSY:
      return 409;
    case EALREADY:
      return 304;
    case EFBIG:
      return 413;
    case ENOTSUP:
    case ENOSYS:
      return 501;
    case EACCES:
    case EPERM:
    case EROFS:
      return 403;
    default:
      return 500;
  }
}

Result<> ReplyError(Exchange& exchange, const Error& error) {
  const int status = HttpStatusOf(error);
  if (status == 304) return ReplyNothing(exchange, status);
  return ReplyJson(exchange, status, {{"message", ErrorText(error)}});
}

Result<json> ReadJson(Exchange& exchange) {
  STRATA_TRY_ASSIGN(const std::string body, exchange.ReadBody(kJsonMax));
  if (body.find_first_not_of(" \t\r\n") == std::string::npos) return json();
  const std::string_view type = exchange.request().Header("content-type");
  if (!type.empty() && !type.starts_with(kJsonType) && !type.starts_with("text/plain")) {
    return Fail(
        EINVAL, "json",
        "unsupported Content-Type header (" + std::string(type) + "): must be 'application/json'");
  }
  return ParseJson(body);
}

Result<Filters> Filters::Parse(const HttpRequest& request, const std::set<std::string>& known) {
  Filters filters;
  const std::string_view text = request.Query("filters");
  if (text.empty()) return filters;
  STRATA_TRY_ASSIGN(const json object, ParseJson(text));
  if (!object.is_object()) return Fail(EINVAL, "filters", "invalid filter: not a JSON object");
  for (const auto& [name, values] : object.items()) {
    if (!known.contains(name)) return Fail(EINVAL, "filters", "invalid filter '" + name + "'");
    auto& list = filters.values_[name];
    if (values.is_array()) {
      for (const auto& value : values) {
        if (!value.is_string()) return Fail(EINVAL, "filters", "invalid filter '" + name + "'");
        list.push_back(value.get<std::string>());
      }
    } else if (values.is_object()) {
      for (const auto& [value, on] : values.items()) {
        if (on.is_boolean() && on.get<bool>()) list.push_back(value);
      }
    } else {
      return Fail(EINVAL, "filters", "invalid filter '" + name + "'");
    }
  }
  return filters;
}

const std::vector<std::string>& Filters::Values(const std::string& name) const {
  static const std::vector<std::string> kNone;
  const auto it = values_.find(name);
  return it == values_.end() ? kNone : it->second;
}

bool Filters::MatchLabels(const std::map<std::string, std::string>& labels) const {
  for (const auto& wanted : Values("label")) {
    const std::size_t equals = wanted.find('=');
    const auto it = labels.find(wanted.substr(0, equals));
    if (it == labels.end()) return false;
    if (equals != std::string::npos && it->second != wanted.substr(equals + 1)) return false;
  }
  return true;
}

}  // namespace strata::manager
