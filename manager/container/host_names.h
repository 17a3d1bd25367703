// Names and addresses that a client puts into a container's /etc.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "manager/container/types.h"

namespace strata::manager {

// RFC 1123: letters, digits and hyphens between dots, 63 bytes at most in all.
bool ValidHostName(std::string_view name);

// A line of /etc/hosts.
struct ExtraHost {
  std::string name;
  std::string address;
};

// "NAME:ADDRESS" or "NAME=ADDRESS", an IPv6 address in brackets or without. EINVAL unless both can
// stand in /etc/hosts; ENOTSUP for host-gateway, which a bridge network would have.
Result<ExtraHost> ParseExtraHost(std::string_view text);

// EINVAL for a host or domain name that is none.
Result<> CheckHostNames(const ContainerConfig& config);
// EINVAL for an --add-host or a DNS setting that cannot stand in its file.
Result<> CheckNameSettings(const HostConfig& host);

}  // namespace strata::manager
