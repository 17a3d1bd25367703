#include "manager/container/host_names.h"

#include <arpa/inet.h>
#include <ctype.h>

#include <algorithm>

#include "base/try.h"

namespace strata::manager {
namespace {

constexpr std::size_t kNameBytesMax = 63;

bool LetterOrDigit(char c) { return ::isalnum(static_cast<unsigned char>(c)) != 0; }

bool ValidAddress(const std::string& text) {
  in6_addr parsed{};
  return ::inet_pton(AF_INET, text.c_str(), &parsed) == 1 ||
         ::inet_pton(AF_INET6, text.c_str(), &parsed) == 1;
}

bool OneWord(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return ::isgraph(static_cast<unsigned char>(c)) != 0;
  });
}

}  // namespace

bool ValidHostName(std::string_view name) {
  if (name.empty() || name.size() > kNameBytesMax) return false;
  for (;;) {
    const std::size_t dot = name.find('.');
    const std::string_view label = name.substr(0, dot);
    if (label.empty() || !LetterOrDigit(label.front()) || !LetterOrDigit(label.back()) ||
        !std::ranges::all_of(label, [](char c) { return c == '-' || LetterOrDigit(c); })) {
      return false;
    }
    if (dot == std::string_view::npos) return true;
    name.remove_prefix(dot + 1);
  }
}

Result<ExtraHost> ParseExtraHost(std::string_view text) {
  const auto bad = [&](const char* why) {
    return Fail(EINVAL, "create", "invalid --add-host \"" + std::string(text) + "\": " + why);
  };
  const std::size_t separator = text.find_first_of(":=");
  if (separator == std::string_view::npos) return bad("it is not NAME:IP");
  ExtraHost host{std::string(text.substr(0, separator)), std::string(text.substr(separator + 1))};
  if (host.address == "host-gateway") {
    return Fail(ENOTSUP, "create",
                "invalid --add-host \"" + std::string(text) +
                    "\": host-gateway needs a bridge network, which is not supported");
  }
  if (host.address.starts_with('[') && host.address.ends_with(']')) {
    host.address = host.address.substr(1, host.address.size() - 2);
  }
  if (!ValidHostName(host.name)) return bad("the name is no host name");
  if (!ValidAddress(host.address)) return bad("the address is no IP address");
  return host;
}

Result<> CheckHostNames(const ContainerConfig& config) {
  for (const auto& name : {config.hostname, config.domainname}) {
    if (name.empty() || ValidHostName(name)) continue;
    return Fail(EINVAL, "create",
                "invalid host name \"" + name +
                    "\": it has letters, digits and hyphens between dots, at most 63 in all");
  }
  return {};
}

Result<> CheckNameSettings(const HostConfig& host) {
  for (const auto& entry : host.extra_hosts) STRATA_TRY(ParseExtraHost(entry));
  for (const auto& server : host.dns) {
    if (ValidAddress(server)) continue;
    return Fail(EINVAL, "create", "invalid --dns \"" + server + "\": it is no IP address");
  }
  for (const auto* words : {&host.dns_search, &host.dns_options}) {
    for (const auto& word : *words) {
      if (!OneWord(word)) {
        return Fail(EINVAL, "create", "invalid DNS setting \"" + word + "\": it is not one word");
      }
    }
  }
  return {};
}

}  // namespace strata::manager
