#include "manager/api/http_request.h"

#include <algorithm>
#include <charconv>

#include "base/try.h"

namespace strata::manager {
namespace {

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Result<std::string> PercentDecode(std::string_view text, bool plus_is_space) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '+' && plus_is_space) c = ' ';
    if (c == '%') {
      const int high = i + 1 < text.size() ? HexValue(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? HexValue(text[i + 2]) : -1;
      if (high < 0 || low < 0) return Fail(EINVAL, "url", "invalid percent-encoding in the URL");
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (c == '\0') return Fail(EINVAL, "url", "NUL byte in the URL");
    decoded.push_back(c);
  }
  return decoded;
}

// "/v1.47/rest" -> version and "/rest"; a path without that prefix stays.
std::string_view TakeVersion(std::string_view path, HttpRequest& request) {
  if (!path.starts_with("/v")) return path;
  const char* begin = path.data() + 2;
  const char* end = path.data() + path.size();
  int major = 0;
  int minor = 0;
  const auto first = std::from_chars(begin, end, major);
  if (first.ec != std::errc() || first.ptr == end || *first.ptr != '.') return path;
  const auto second = std::from_chars(first.ptr + 1, end, minor);
  if (second.ec != std::errc() || second.ptr == end || *second.ptr != '/') return path;
  request.api_major = major;
  request.api_minor = minor;
  return path.substr(static_cast<std::size_t>(second.ptr - path.data()));
}

Result<> ParseQuery(std::string_view text, HttpRequest& request) {
  while (!text.empty()) {
    const std::size_t end = text.find('&');
    const std::string_view pair = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (pair.empty()) continue;
    const std::size_t equals = pair.find('=');
    STRATA_TRY_ASSIGN(std::string name, PercentDecode(pair.substr(0, equals), true));
    std::string value;
    if (equals != std::string_view::npos) {
      STRATA_TRY_ASSIGN(value, PercentDecode(pair.substr(equals + 1), true));
    }
    request.query.emplace_back(std::move(name), std::move(value));
  }
  return {};
}

}  // namespace

std::string ApiVersionText(int minor) {
  return std::to_string(kApiMajor) + '.' + std::to_string(minor);
}

std::string_view HttpRequest::Query(std::string_view name) const {
  for (const auto& [key, value] : query) {
    if (key == name) return value;
  }
  return {};
}

bool HttpRequest::HasQuery(std::string_view name) const {
  for (const auto& [key, value] : query) {
    if (key == name) return true;
  }
  return false;
}

bool HttpRequest::QueryFlag(std::string_view name, bool absent) const {
  if (!HasQuery(name)) return absent;
  const std::string_view value = Query(name);
  return !value.empty() && value != "0" && value != "no" && value != "false" && value != "False" &&
         value != "none";
}

Result<std::int64_t> HttpRequest::QueryInt(std::string_view name, std::int64_t absent) const {
  const std::string_view value = Query(name);
  if (value.empty()) return absent;
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size()) {
    return Fail(EINVAL, "query",
                "invalid value for " + std::string(name) + ": " + std::string(value));
  }
  return number;
}

Result<std::int64_t> HttpRequest::QueryTime(std::string_view name, std::int64_t absent) const {
  constexpr std::int64_t kSecondsMax = 9'000'000'000;
  constexpr std::size_t kNanosecondDigits = 9;
  const std::string_view text = Query(name);
  if (text.empty()) return absent;
  const std::size_t point = std::min(text.find('.'), text.size());
  std::string fraction(text.substr(std::min(point + 1, text.size())));
  fraction.resize(kNanosecondDigits, '0');
  const auto parse = [](std::string_view digits, std::int64_t& number) {
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    return error == std::errc() && end == digits.data() + digits.size() && number >= 0;
  };
  std::int64_t seconds = 0;
  std::int64_t nanoseconds = 0;
  if (!parse(text.substr(0, point), seconds) || !parse(fraction, nanoseconds) ||
      seconds > kSecondsMax) {
    return Fail(EINVAL, "query",
                "invalid value for " + std::string(name) + ": " + std::string(text));
  }
  return seconds * 1'000'000'000 + nanoseconds;
}

std::string_view HttpRequest::Header(std::string_view lower_case_name) const {
  for (const auto& [name, value] : headers) {
    if (name == lower_case_name) return value;
  }
  return {};
}

Result<> ParseTarget(std::string_view target, HttpRequest& request) {
  request.target = target;
  // Proxies and some clients send the absolute form.
  if (target.starts_with("http://")) {
    const std::size_t slash = target.find('/', 7);
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
  }
  if (!target.starts_with('/')) return Fail(EINVAL, "url", "the request target is not a path");
  target = target.substr(0, target.find('#'));
  const std::size_t mark = target.find('?');
  STRATA_TRY_ASSIGN(const std::string path, PercentDecode(target.substr(0, mark), false));
  request.path = TakeVersion(path, request);
  if (mark == std::string_view::npos) return {};
  return ParseQuery(target.substr(mark + 1), request);
}

}  // namespace strata::manager
