#include "manager/cli/endpoint.h"

#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <memory>
#include <optional>

#include "base/try.h"

namespace strata::manager::cli {
namespace {

std::optional<std::string_view> AfterPrefix(std::string_view text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return std::nullopt;
  return text.substr(prefix.size());
}

Result<Endpoint> ParseTcp(std::string_view text, std::string_view address) {
  while (address.ends_with('/')) address.remove_suffix(1);
  const auto colon = address.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == address.size() ||
      address.substr(colon + 1).find_first_not_of("0123456789") != std::string_view::npos) {
    return Fail(EINVAL, "host", "'" + std::string(text) + "': expected tcp://HOST:PORT");
  }
  Endpoint endpoint;
  endpoint.kind = Endpoint::Kind::kTcp;
  std::string_view host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  endpoint.host = host;
  endpoint.port = address.substr(colon + 1);
  return endpoint;
}

Result<UniqueFd> ConnectUnix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return Fail(ENAMETOOLONG, "connect", path);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return FailErrno("socket");
  while (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) !=
         0) {
    if (errno != EINTR) return FailErrno("connect");
  }
  return socket;
}

Result<UniqueFd> ConnectTcp(const Endpoint& endpoint) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int status = ::getaddrinfo(endpoint.host.c_str(), endpoint.port.c_str(), &hints, &list);
  if (status != 0) return Fail(EHOSTUNREACH, "resolve", ::gai_strerror(status));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(list, &::freeaddrinfo);

  Error last(EHOSTUNREACH, "connect");
  for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    UniqueFd socket(::socket(entry->ai_family, entry->ai_socktype | SOCK_CLOEXEC, 0));
    if (socket && ::connect(socket.get(), entry->ai_addr, entry->ai_addrlen) == 0) {
      // Keystrokes of an interactive session must not wait for each other's acknowledgement.
      const int on = 1;
      if (::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0) {
        return FailErrno("setsockopt");
      }
      return socket;
    }
    last = Error::FromErrno("connect");
  }
  return std::unexpected(std::move(last));
}

}  // namespace

Result<Endpoint> Endpoint::Parse(std::string_view text) {
  if (const auto path = AfterPrefix(text, "unix://"); path || text.starts_with('/')) {
    Endpoint endpoint;
    endpoint.path = path.value_or(text);
    if (!endpoint.path.starts_with('/')) {
      return Fail(EINVAL, "host", "'" + std::string(text) + "': a socket's path is absolute");
    }
    return endpoint;
  }
  for (const std::string_view scheme : {"tcp://", "http://"}) {
    if (const auto address = AfterPrefix(text, scheme)) return ParseTcp(text, *address);
  }
  return Fail(EINVAL, "host",
              "'" + std::string(text) + "': expected unix:///PATH or tcp://HOST:PORT");
}

std::string Endpoint::ToString() const {
  if (kind == Kind::kUnix) return "unix://" + path;
  const bool v6 = host.find(':') != std::string::npos;
  return "tcp://" + (v6 ? "[" + host + "]" : host) + ":" + port;
}

Result<UniqueFd> Connect(const Endpoint& endpoint) {
  return endpoint.kind == Endpoint::Kind::kUnix ? ConnectUnix(endpoint.path) : ConnectTcp(endpoint);
}

}  // namespace strata::manager::cli
