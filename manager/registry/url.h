// The few things the registry client does with http and https URLs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace strata::manager {

// Where a URL leads. IPv6 hosts stand without brackets; `port` is the scheme's own if not given.
struct UrlOrigin {
  std::string scheme;  // "http" or "https"
  std::string host;    // lower case
  std::uint16_t port = 0;

  // "host", or "host:port" where the port is not the scheme's own; IPv6 in brackets.
  std::string Authority() const;
  bool operator==(const UrlOrigin&) const = default;
};

// EINVAL for anything but a well-formed absolute http or https URL, or one with a user or
// password in it.
Result<UrlOrigin> ParseOrigin(std::string_view url);

// RFC 3986 §5: what `reference` (absolute, or relative like "/v2/x") means on a page at `base`.
Result<std::string> ResolveUrl(const std::string& base, const std::string& reference);

// Adds name=value to the query; the value is percent-encoded.
Result<std::string> AddQuery(const std::string& url, std::string_view name, std::string_view value);

// application/x-www-form-urlencoded form of one value.
std::string PercentEncode(std::string_view value);

// 127.0.0.0/8, ::1 or localhost: traffic that does not leave the machine.
bool IsLoopbackHost(std::string_view host);
// 169.254.0.0/16 or fe80::/10: cloud metadata services live there; never a place for credentials.
bool IsLinkLocalHost(std::string_view host);

}  // namespace strata::manager
