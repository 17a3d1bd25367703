// Where the daemon is, and how to get a connected socket to it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/unique_fd.h"

namespace strata::manager::cli {

// A daemon's address. Value type.
struct Endpoint {
  enum class Kind : std::uint8_t { kUnix, kTcp };
  Kind kind = Kind::kUnix;
  std::string path;  // kUnix: the socket's path
  std::string host;  // kTcp: name or address, an IPv6 one without its brackets
  std::string port;  // kTcp

  // unix:///path, an absolute path, tcp://host:port or http://host:port. EINVAL with what is wrong
  // in the detail.
  static Result<Endpoint> Parse(std::string_view text);

  std::string ToString() const;
};

// A connected, blocking stream socket. The error's code is connect(2)'s; a name that does not
// resolve is EHOSTUNREACH.
Result<UniqueFd> Connect(const Endpoint& endpoint);

}  // namespace strata::manager::cli
