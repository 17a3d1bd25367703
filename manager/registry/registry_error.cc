#include "manager/registry/registry_error.h"

#include <nlohmann/json.hpp>

#include "base/utf8.h"

namespace strata::manager {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kQuoteMax = 200;  // bytes of a strange body that are worth showing
constexpr std::size_t kErrorsMax = 4;   // of one answer

std::string_view StatusText(int status) {
  switch (status) {
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 413:
      return "Content Too Large";
    case 416:
      return "Range Not Satisfiable";
    case 429:
      return "Too Many Requests";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    default:
      return "";
  }
}

// What may be shown on a terminal: printable UTF-8 on one line.
std::string Printable(std::string_view text) {
  std::string out;
  while (!text.empty() && out.size() < kQuoteMax) {
    const std::size_t length = Utf8SequenceLength(text);
    const auto first = static_cast<unsigned char>(text.front());
    if (length == 0 || first < 0x20 || first == 0x7f) {
      if (!out.empty() && out.back() != ' ') out += ' ';
      text.remove_prefix(1);
      continue;
    }
    const bool doubled = first == ' ' && (out.empty() || out.back() == ' ');
    if (!doubled) out += text.substr(0, length);
    text.remove_prefix(length);
  }
  while (out.ends_with(' ')) out.pop_back();
  if (!text.empty()) out += "...";
  return out;
}

std::string StringOr(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? Printable(it->get_ref<const std::string&>())
                                               : std::string();
}

std::string BodyText(const std::string& body) {
  const Json json = Json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Printable(body);
  std::string out;
  if (const auto errors = json.find("errors"); errors != json.end() && errors->is_array()) {
    std::size_t count = 0;
    for (const Json& error : *errors) {
      if (!error.is_object() || ++count > kErrorsMax) continue;
      const std::string code = StringOr(error, "code");
      const std::string message = StringOr(error, "message");
      if (!out.empty()) out += "; ";
      out += code;
      if (!code.empty() && !message.empty()) out += ": ";
      out += message;
    }
  }
  // Token servers and proxies have their own shapes.
  for (const char* key : {"error", "error_description", "message", "details"}) {
    if (out.empty()) out = StringOr(json, key);
  }
  return out.empty() ? Printable(body) : out;
}

}  // namespace

int ErrnoOfStatus(int status) {
  switch (status) {
    case 401:
    case 403:
      return EACCES;
    case 404:
      return ENOENT;
    case 405:
    case 501:
      return EOPNOTSUPP;
    case 413:
      return EFBIG;
    case 416:
      return ERANGE;
    case 429:
      return EBUSY;
    default:
      break;
  }
  if (status >= 400 && status < 500) return EINVAL;
  return status >= 500 ? EREMOTEIO : EPROTO;
}

Error MakeRegistryError(std::string_view what, const WebResponse& response) {
  std::string text(what);
  text += ": " + std::to_string(response.status);
  if (const std::string_view name = StatusText(response.status); !name.empty()) {
    text.append(" ").append(name);
  }
  if (const std::string body = BodyText(response.body); !body.empty()) text += ": " + body;
  return Error(ErrnoOfStatus(response.status), "registry", std::move(text));
}

}  // namespace strata::manager
