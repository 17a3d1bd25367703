#include "manager/api/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <system_error>

#include "base/logging.h"
#include "base/try.h"

namespace strata::manager {
namespace {

constexpr int kBacklog = 128;
constexpr int kReapMillis = 5000;

Result<> Bind(int fd, const sockaddr* address, socklen_t size, const std::string& host) {
  if (::bind(fd, address, size) == -1) return FailErrno("bind", host);
  if (::listen(fd, kBacklog) == -1) return FailErrno("listen", host);
  return {};
}

Result<UniqueFd> ListenUnix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (!path.starts_with('/') || path.size() >= sizeof address.sun_path) {
    return Fail(EINVAL, "listen", "'" + path + "' is no absolute path of at most 107 bytes");
  }
  path.copy(address.sun_path, path.size());
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  struct stat st{};
  if (::lstat(path.c_str(), &st) == 0) {
    if (!S_ISSOCK(st.st_mode)) return Fail(EEXIST, "listen", path + " is not a socket");
    const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (probe && ::connect(probe.get(), generic, sizeof address) == 0) {
      return Fail(EADDRINUSE, "listen", "another daemon answers at " + path);
    }
    if (::unlink(path.c_str()) == -1 && errno != ENOENT) return FailErrno("unlink", path);
  }
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return FailErrno("socket");
  // The socket is born with its mode: no moment in which others could connect.
  const mode_t before = ::umask(0117);
  auto bound = Bind(fd.get(), generic, sizeof address, path);
  ::umask(before);
  STRATA_TRY(std::move(bound));
  return fd;
}

Result<UniqueFd> ListenTcp(const std::string& host) {
  const std::size_t colon = host.rfind(':');
  std::uint16_t port = 0;
  if (colon == std::string::npos ||
      std::from_chars(host.data() + colon + 1, host.data() + host.size(), port).ptr !=
          host.data() + host.size()) {
    return Fail(EINVAL, "listen", "tcp://" + host + " needs a port");
  }
  std::string name = host.substr(0, colon);
  if (name == "localhost") name = "127.0.0.1";
  sockaddr_storage storage{};
  socklen_t size = 0;
  bool loopback = false;
  if (name.starts_with('[') && name.ends_with(']')) {
    auto* address = reinterpret_cast<sockaddr_in6*>(&storage);
    address->sin6_family = AF_INET6;
    address->sin6_port = htons(port);
    if (::inet_pton(AF_INET6, name.substr(1, name.size() - 2).c_str(), &address->sin6_addr) != 1) {
      return Fail(EINVAL, "listen", name + " is no IPv6 address");
    }
    loopback = IN6_IS_ADDR_LOOPBACK(&address->sin6_addr);
    size = sizeof *address;
  } else {
    auto* address = reinterpret_cast<sockaddr_in*>(&storage);
    address->sin_family = AF_INET;
    address->sin_port = htons(port);
    if (::inet_pton(AF_INET, name.c_str(), &address->sin_addr) != 1) {
      return Fail(EINVAL, "listen", "'" + name + "' is no IP address");
    }
    loopback = (ntohl(address->sin_addr.s_addr) >> 24U) == IN_LOOPBACKNET;
    size = sizeof *address;
  }
  if (!loopback) {
    return Fail(EPERM, "listen",
                "tcp://" + host +
                    " is refused: whoever reaches this API is root on this machine, and there is "
                    "no TLS yet. Use a loopback address, or the unix socket through ssh");
  }
  UniqueFd fd(::socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return FailErrno("socket");
  const int on = 1;
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == -1) {
    return FailErrno("setsockopt");
  }
  STRATA_TRY(Bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), size, host));
  return fd;
}

}  // namespace

Result<UniqueFd> Listen(const std::string& host) {
  if (host.starts_with("unix://")) return ListenUnix(host.substr(7));
  if (host.starts_with("tcp://")) return ListenTcp(host.substr(6));
  return Fail(EINVAL, "listen", "'" + host + "' is neither unix:///path nor tcp://address:port");
}

Result<std::unique_ptr<HttpServer>> HttpServer::Start(std::vector<UniqueFd> listeners,
                                                      std::function<void(Exchange&)> handle) {
  STRATA_TRY_ASSIGN(Notifier stop, Notifier::Create());
  std::unique_ptr<HttpServer> server(
      new HttpServer(std::move(listeners), std::move(handle), std::move(stop)));
  server->acceptor_ = std::jthread([raw = server.get()] { raw->AcceptLoop(); });
  return server;
}

HttpServer::~HttpServer() {
  stop_.Signal();
  if (acceptor_.joinable()) acceptor_.join();
  clients_.clear();  // joins
}

void HttpServer::AcceptLoop() {
  for (;;) {
    std::vector<pollfd> fds{{stop_.fd(), POLLIN, 0}};
    // With too many clients new ones wait in the backlog.
    const bool full = clients_.size() >= kConnectionsMax;
    for (const auto& listener : listeners_) {
      fds.push_back({full ? -1 : listener.get(), POLLIN, 0});
    }
    const int ready = ::poll(fds.data(), fds.size(), full ? 100 : kReapMillis);
    if (ready == -1 && errno != EINTR) {
      log::Error("accepting clients failed", {{"error", Error::FromErrno("poll").ToString()}});
      return;
    }
    Reap();
    if (ready <= 0) continue;
    if (fds[0].revents != 0) return;
    for (std::size_t i = 1; i < fds.size(); ++i) {
      if (fds[i].revents != 0) Accept(fds[i].fd);
    }
  }
}

void HttpServer::Accept(int listener) {
  UniqueFd socket(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket) {
    if (errno == EMFILE || errno == ENFILE) {
      log::Error("out of file descriptors, a client has to wait");
      ::poll(nullptr, 0, 100);
    }
    return;
  }
  const int on = 1;  // fails on unix sockets, where it has no meaning
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  Client& client = clients_.emplace_back();
  try {
    client.thread = std::jthread([this, &client, fd = std::move(socket)]() mutable {
      ServeConnection(std::move(fd), stop_.fd(), ConnectionLimits{}, handle_);
      client.done = true;
    });
  } catch (const std::system_error& error) {
    log::Error("no thread for a client", {{"error", error.what()}});
    clients_.pop_back();
  }
}

void HttpServer::Reap() {
  clients_.remove_if([](Client& client) { return client.done.load(); });
}

}  // namespace strata::manager
