#include "tests/support/scripted_http_server.h"

#include <strings.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace strata::support {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;

constexpr std::uint64_t kBodyLimit = std::uint64_t{1} << 30U;

ScriptedRequest Convert(const http::request<http::string_body>& request) {
  ScriptedRequest result;
  result.method = std::string(request.method_string());
  result.target = std::string(request.target());
  for (const auto& field : request) {
    result.headers.emplace_back(std::string(field.name_string()), std::string(field.value()));
  }
  result.body = request.body();
  return result;
}

std::string Head(const ScriptedReply& reply) {
  std::string head = "HTTP/1.1 " + std::to_string(reply.status) + " " +
                     std::string(http::obsolete_reason(static_cast<http::status>(reply.status))) +
                     "\r\n";
  bool sized = false;
  for (const auto& [name, value] : reply.headers) {
    head += name + ": " + value + "\r\n";
    sized = sized || strcasecmp(name.c_str(), "Content-Length") == 0;
  }
  if (!sized && reply.status != 204) {
    head += "Content-Length: " + std::to_string(reply.body.size()) + "\r\n";
  }
  return head + "\r\n";
}

}  // namespace

class ScriptedHttpServer::Impl {
 public:
  explicit Impl(Handler handler)
      : handler_(std::move(handler)),
        acceptor_(context_, tcp::endpoint(asio::ip::address_v4::loopback(), 0)),
        port_(acceptor_.local_endpoint().port()),
        accept_thread_([this] { Accept(); }) {}

  ~Impl() {
    {
      const std::scoped_lock lock(mu_);
      stopping_ = true;
      for (const auto& socket : sockets_) ::shutdown(socket->native_handle(), SHUT_RDWR);
    }
    changed_.notify_all();
    ::shutdown(acceptor_.native_handle(), SHUT_RDWR);
    accept_thread_.join();
    for (std::thread& thread : threads_) thread.join();
  }

  std::uint16_t port() const { return port_; }
  std::vector<ScriptedRequest> Requests() const {
    const std::scoped_lock lock(mu_);
    return requests_;
  }

 private:
  void Accept() {
    for (;;) {
      boost::system::error_code error;
      auto socket = std::make_shared<tcp::socket>(context_);
      acceptor_.accept(*socket, error);
      const std::scoped_lock lock(mu_);
      if (stopping_ || error) return;
      sockets_.push_back(socket);
      threads_.emplace_back([this, socket] { Serve(*socket); });
    }
  }

  void Serve(tcp::socket& socket) {
    boost::beast::flat_buffer buffer;
    for (;;) {
      boost::system::error_code error;
      http::request_parser<http::string_body> parser;
      parser.body_limit(kBodyLimit);
      http::read(socket, buffer, parser, error);
      if (error) break;
      const ScriptedRequest request = Convert(parser.get());
      {
        const std::scoped_lock lock(mu_);
        requests_.push_back(request);
      }
      if (!Answer(socket, request.method == "HEAD", handler_(request)) ||
          !parser.get().keep_alive()) {
        break;
      }
    }
    ::shutdown(socket.native_handle(), SHUT_RDWR);
  }

  // Whether the connection can be used further.
  bool Answer(tcp::socket& socket, bool head_only, const ScriptedReply& reply) {
    boost::system::error_code error;
    if (reply.silent) return Hang();
    if (reply.raw) {
      asio::write(socket, asio::buffer(*reply.raw), error);
      return false;
    }
    std::string bytes = Head(reply);
    if (!head_only) {
      const std::size_t limit =
          reply.drop_after.value_or(reply.hang_after.value_or(reply.body.size()));
      bytes += reply.body.substr(0, limit);
    }
    asio::write(socket, asio::buffer(bytes), error);
    if (reply.hang_after) return Hang();
    return !error && !reply.drop_after;
  }

  bool Hang() {
    std::unique_lock lock(mu_);
    changed_.wait(lock, [this] { return stopping_; });
    return false;
  }

  const Handler handler_;
  asio::io_context context_;
  tcp::acceptor acceptor_;
  const std::uint16_t port_;

  mutable std::mutex mu_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::vector<ScriptedRequest> requests_;
  std::vector<std::shared_ptr<tcp::socket>> sockets_;
  std::vector<std::thread> threads_;  // added to by accept_thread_ only

  std::thread accept_thread_;  // last: it uses all of the above
};

std::string ScriptedRequest::Header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key.size() == name.size() && strncasecmp(key.data(), name.data(), name.size()) == 0) {
      return value;
    }
  }
  return {};
}

ScriptedHttpServer::ScriptedHttpServer(Handler handler)
    : impl_(std::make_unique<Impl>(std::move(handler))) {}
ScriptedHttpServer::~ScriptedHttpServer() = default;

std::string ScriptedHttpServer::Address() const {
  return "127.0.0.1:" + std::to_string(impl_->port());
}
std::string ScriptedHttpServer::Url(const std::string& path) const {
  return "http://" + Address() + path;
}
std::vector<ScriptedRequest> ScriptedHttpServer::Requests() const { return impl_->Requests(); }

std::size_t ScriptedHttpServer::Count(std::string_view method, std::string_view part) const {
  const auto requests = Requests();
  return static_cast<std::size_t>(
      std::ranges::count_if(requests, [&](const ScriptedRequest& request) {
        return request.method == method && request.target.contains(part);
      }));
}

}  // namespace strata::support
