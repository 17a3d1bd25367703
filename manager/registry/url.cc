#include "manager/registry/url.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <memory>

#include "base/try.h"

namespace strata::manager {
namespace {

struct UrlDeleter {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using UrlHandle = std::unique_ptr<CURLU, UrlDeleter>;

std::unexpected<Error> BadUrl(std::string_view url, std::string_view why) {
  return Fail(EINVAL, "parse URL", "\"" + std::string(url) + "\": " + std::string(why));
}

Result<UrlHandle> Parse(const std::string& url) {
  UrlHandle handle(curl_url());
  if (!handle) return Fail(ENOMEM, "parse URL");
  const CURLUcode code = curl_url_set(handle.get(), CURLUPART_URL, url.c_str(), 0);
  if (code != CURLUE_OK) return BadUrl(url, curl_url_strerror(code));
  return handle;
}

// The part's text, "" where the URL has none.
std::string Part(CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK || text == nullptr) return {};
  std::string result(text);
  curl_free(text);
  return result;
}

std::uint16_t DefaultPort(std::string_view scheme) { return scheme == "https" ? 443 : 80; }

}  // namespace

std::string UrlOrigin::Authority() const {
  std::string result = host.contains(':') ? "[" + host + "]" : host;
  if (port != DefaultPort(scheme)) result += ":" + std::to_string(port);
  return result;
}

Result<UrlOrigin> ParseOrigin(std::string_view url) {
  STRATA_TRY_ASSIGN(const UrlHandle handle, Parse(std::string(url)));
  UrlOrigin origin;
  origin.scheme = Part(handle.get(), CURLUPART_SCHEME);
  if (origin.scheme != "http" && origin.scheme != "https") {
    return BadUrl(url, "only http and https are spoken");
  }
  if (!Part(handle.get(), CURLUPART_USER).empty() ||
      !Part(handle.get(), CURLUPART_PASSWORD).empty()) {
    return BadUrl(url, "user names do not belong into a URL");
  }
  origin.host = Part(handle.get(), CURLUPART_HOST);
  if (origin.host.size() > 2 && origin.host.front() == '[') {
    origin.host = origin.host.substr(1, origin.host.size() - 2);
  }
  std::ranges::transform(origin.host, origin.host.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  const std::string port = Part(handle.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), origin.port);
  if (error != std::errc() || end != port.data() + port.size()) return BadUrl(url, "bad port");
  if (origin.host.empty()) return BadUrl(url, "no host");
  return origin;
}

Result<std::string> ResolveUrl(const std::string& base, const std::string& reference) {
  STRATA_TRY_ASSIGN(const UrlHandle handle, Parse(base));
  const CURLUcode code = curl_url_set(handle.get(), CURLUPART_URL, reference.c_str(), 0);
  if (code != CURLUE_OK) return BadUrl(reference, curl_url_strerror(code));
  std::string result = Part(handle.get(), CURLUPART_URL);
  STRATA_TRY(ParseOrigin(result));
  return result;
}

Result<std::string> AddQuery(const std::string& url, std::string_view name,
                             std::string_view value) {
  STRATA_TRY_ASSIGN(const UrlHandle handle, Parse(url));
  // The bytes that are there stay as they are: upload URLs carry signed state.
  const std::string query = Part(handle.get(), CURLUPART_QUERY);
  const std::size_t fragment = url.find('#');
  std::string result = url.substr(0, fragment);
  if (!result.contains('?')) {
    result += '?';
  } else if (!query.empty()) {
    result += '&';
  }
  return result + std::string(name) + "=" + PercentEncode(value);
}

std::string PercentEncode(std::string_view value) {
  static constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      out += c;
    } else {
      out += '%';
      out += kHex[byte >> 4U];
      out += kHex[byte & 15U];
    }
  }
  return out;
}

bool IsLoopbackHost(std::string_view host) {
  if (host == "localhost") return true;
  const std::string text(host);
  in_addr v4{};
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24U) == 127;
  in6_addr v6{};
  return inet_pton(AF_INET6, text.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

bool IsLinkLocalHost(std::string_view host) {
  const std::string text(host.substr(0, host.find('%')));
  in_addr v4{};
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 16U) == 0xa9fe;
  in6_addr v6{};
  if (inet_pton(AF_INET6, text.c_str(), &v6) != 1) return false;
  if (IN6_IS_ADDR_V4MAPPED(&v6)) return v6.s6_addr[12] == 169 && v6.s6_addr[13] == 254;
  return IN6_IS_ADDR_LINKLOCAL(&v6);
}

}  // namespace strata::manager
