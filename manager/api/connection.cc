#include "manager/api/connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <charconv>
#include <exception>
#include <limits>

#include "base/logging.h"
#include "base/try.h"
#include "manager/api/exchange.h"
#include "manager/api/socket_stream.h"

namespace strata::manager {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

// What is read of a body that the handler did not want, so that the connection can be used again.
constexpr std::size_t kDrainMax = std::size_t{1} << 20U;
constexpr std::size_t kBodyPiece = std::size_t{64} * 1024;

const char* ReasonOf(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 204:
      return "No Content";
    case 304:
      return "Not Modified";
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
    case 406:
      return "Not Acceptable";
    case 409:
      return "Conflict";
    case 413:
      return "Payload Too Large";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    default:
      return "Status";
  }
}

// Beast's SyncReadStream over a SocketStream.
class BeastStream {
 public:
  explicit BeastStream(SocketStream& socket) : socket_(socket) {}

  template <class Buffers>
  std::size_t read_some(const Buffers& buffers, boost::system::error_code& error) {
    error = {};
    for (auto it = asio::buffer_sequence_begin(buffers); it != asio::buffer_sequence_end(buffers);
         ++it) {
      const asio::mutable_buffer buffer(*it);
      if (buffer.size() == 0) continue;
      auto got = socket_.ReadSome({static_cast<char*>(buffer.data()), buffer.size()});
      if (!got) {
        error = boost::system::error_code(got.error().code(), boost::system::system_category());
        return 0;
      }
      if (*got == 0) error = asio::error::eof;
      return *got;
    }
    return 0;
  }
  template <class Buffers>
  std::size_t read_some(const Buffers& buffers) {
    boost::system::error_code error;
    const std::size_t got = read_some(buffers, error);
    if (error) throw boost::system::system_error(error);
    return got;
  }

 private:
  SocketStream& socket_;
};

using Parser = http::request_parser<http::buffer_body>;

class BeastExchange final : public Exchange {
 public:
  BeastExchange(SocketStream& socket, beast::flat_buffer& buffer, Parser& parser,
                HttpRequest request)
      : socket_(socket), buffer_(buffer), parser_(parser), request_(std::move(request)) {
    keep_alive_ = parser_.get().keep_alive();
    expects_continue_ = request_.Header("expect") == "100-continue";
  }

  const HttpRequest& request() const override { return request_; }
  int socket() const override { return socket_.fd(); }
  int stop_fd() const override { return socket_.stop_fd(); }
  bool answered() const override { return answered_; }
  bool hijacked() const override { return hijacked_; }
  bool keep_alive() const { return keep_alive_ && !hijacked_; }
  // Closes the connection after this answer.
  void EndConnection() { keep_alive_ = false; }

  Result<std::size_t> ReadSome(std::span<std::byte> into) override {
    if (parser_.is_done() || into.empty()) return 0;
    if (expects_continue_) {
      expects_continue_ = false;
      STRATA_TRY(socket_.WriteAll("HTTP/1.1 100 Continue\r\n\r\n"));
    }
    BeastStream stream(socket_);
    auto& body = parser_.get().body();
    for (;;) {
      body.data = into.data();
      body.size = into.size();
      boost::system::error_code error;
      http::read_some(stream, buffer_, parser_, error);
      if (error == http::error::need_buffer) error = {};
      const std::size_t got = into.size() - body.size;
      if (error) {
        keep_alive_ = false;
        if (error.category() == boost::system::system_category()) {
          return Fail(error.value(), "read body");
        }
        return Fail(EINVAL, "read body", "malformed request body: " + error.message());
      }
      if (got > 0 || parser_.is_done()) return got;
    }
  }

  Result<std::string> ReadBody(std::size_t limit) override {
    std::string body;
    for (;;) {
      const std::size_t before = body.size();
      body.resize(before + kBodyPiece);
      STRATA_TRY_ASSIGN(const std::size_t got,
                        ReadSome(std::as_writable_bytes(std::span(body).subspan(before))));
      body.resize(before + got);
      if (got == 0) return body;
      if (body.size() > limit) {
        keep_alive_ = false;
        return Fail(EFBIG, "read body", "the request body is too large");
      }
    }
  }

  Result<> Reply(int status, std::string_view content_type, std::string_view body,
                 const HttpHeaders& headers) override {
    answered_ = true;
    Drain();
    std::string text = Head(status, content_type, headers);
    const bool bodyless = status == 204 || status == 304;
    if (!bodyless) text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    if (!keep_alive_) text += "Connection: close\r\n";
    text += "\r\n";
    if (!bodyless && request_.method != "HEAD") text += body;
    return Write(text);
  }

  Result<> Begin(int status, std::string_view content_type) override {
    answered_ = true;
    // HTTP/1.0 has no chunks: there the connection's end is the body's.
    chunked_ = parser_.get().version() >= 11;
    if (!chunked_ || !parser_.is_done()) keep_alive_ = false;
    std::string text = Head(status, content_type, {});
    if (chunked_) text += "Transfer-Encoding: chunked\r\n";
    if (!keep_alive_) text += "Connection: close\r\n";
    text += "\r\n";
    streaming_ = true;
    socket_.set_write_timeout(std::nullopt);  // a reader may take its time
    return Write(text);
  }

  Result<> Send(std::string_view data) override {
    if (data.empty()) return {};
    if (!chunked_) return Write(data);
    std::array<char, 24> size{};
    const auto end = std::to_chars(size.data(), size.data() + size.size(), data.size(), 16);
    std::string text(size.data(), end.ptr);
    text.append("\r\n").append(data).append("\r\n");
    return Write(text);
  }

  void Abandon() override {
    keep_alive_ = false;
    abandoned_ = true;
    if (!streaming_ || chunked_) return;
    // Without chunks an ordinary end would say that this was all.
    const linger reset{1, 0};
    if (::setsockopt(socket_.fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == -1) {
      log::Debug("the client may take a part for the whole", {{"errno", errno}});
    }
  }

  // Ends what Begin() began.
  Result<> Finish() {
    if (!streaming_ || !chunked_ || abandoned_) return {};
    return Write("0\r\n\r\n");
  }

  Result<std::string> Hijack(std::string_view content_type) override {
    answered_ = true;
    hijacked_ = true;
    // Clients that ask for it may send a body before they turn to raw bytes: it has been read.
    std::string text;
    if (request_.Header("upgrade") == "tcp") {
      text = "HTTP/1.1 101 UPGRADED\r\nContent-Type: " + std::string(content_type) +
             "\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    } else {
      text = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n";
    }
    socket_.set_read_timeout(std::nullopt);
    socket_.set_write_timeout(std::nullopt);
    STRATA_TRY(Write(text));
    std::string rest(static_cast<const char*>(buffer_.data().data()), buffer_.size());
    buffer_.consume(buffer_.size());
    return rest;
  }

  Result<> SendRaw(std::string_view data) override { return Write(data); }

 private:
  std::string Head(int status, std::string_view content_type, const HttpHeaders& headers) const {
    std::string text = "HTTP/1.1 " + std::to_string(status) + ' ' + ReasonOf(status) + "\r\n";
    text += "Api-Version: " + ApiVersionText(kApiMinorMax) + "\r\n";
    text += "Docker-Experimental: false\r\nOstype: linux\r\nServer: " + ServerHeader() + "\r\n";
    if (!content_type.empty()) text.append("Content-Type: ").append(content_type).append("\r\n");
    for (const auto& [name, value] : headers) text += name + ": " + value + "\r\n";
    return text;
  }

  // The rest of the request, or no further request on this connection.
  void Drain() {
    if (parser_.is_done()) return;
    if (expects_continue_) {
      keep_alive_ = false;
      return;
    }
    std::array<std::byte, 16384> sink;
    for (std::size_t total = 0; total < kDrainMax;) {
      auto got = ReadSome(sink);
      if (!got) break;
      if (*got == 0) return;
      total += *got;
    }
    keep_alive_ = false;
  }

  Result<> Write(std::string_view data) {
    auto written = socket_.WriteAll(data);
    if (!written) keep_alive_ = false;
    return written;
  }

  SocketStream& socket_;
  beast::flat_buffer& buffer_;
  Parser& parser_;
  HttpRequest request_;
  bool keep_alive_ = false;
  bool expects_continue_ = false;
  bool answered_ = false;
  bool streaming_ = false;
  bool chunked_ = false;
  bool hijacked_ = false;
  bool abandoned_ = false;
};

std::string LowerCase(beast::string_view text) {
  std::string lower(text.data(), text.size());
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

std::string JsonMessage(std::string_view text) {
  std::string body = "{\"message\":\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') body.push_back('\\');
    body.push_back(c >= ' ' ? c : ' ');
  }
  return body + "\"}\n";
}

HttpRequest TakeHead(const Parser& parser) {
  HttpRequest request;
  const auto& message = parser.get();
  request.method = std::string(message.method_string());
  for (const auto& field : message) {
    request.headers.emplace_back(LowerCase(field.name_string()), std::string(field.value()));
  }
  return request;
}

int StatusOfParseError(const boost::system::error_code& error) {
  return error == http::error::header_limit ? 431 : 400;
}

// One request. False: the connection is over.
bool ServeOne(SocketStream& socket, beast::flat_buffer& buffer, const ConnectionLimits& limits,
              const std::function<void(Exchange&)>& handle) {
  using std::chrono::seconds;
  if (buffer.size() == 0) {
    // Waiting for a first byte may take long; the rest of the head may not.
    socket.set_read_timeout(seconds(limits.idle_seconds));
    const auto space = buffer.prepare(4096);
    auto got = socket.ReadSome({static_cast<char*>(space.data()), space.size()});
    if (!got || *got == 0) return false;
    buffer.commit(*got);
  }
  socket.set_read_timeout(seconds(limits.head_seconds));
  socket.set_write_timeout(seconds(limits.write_seconds));
  Parser parser;
  parser.header_limit(static_cast<std::uint32_t>(limits.header_bytes));
  parser.body_limit(std::numeric_limits<std::uint64_t>::max());
  BeastStream stream(socket);
  boost::system::error_code error;
  http::read_header(stream, buffer, parser, error);
  if (error == http::error::end_of_stream) return false;
  if (error) {
    if (error.category() == boost::system::system_category()) return false;
    HttpRequest unread;
    BeastExchange exchange(socket, buffer, parser, std::move(unread));
    exchange.EndConnection();
    const std::string text = "HTTP/1.1 " + std::to_string(StatusOfParseError(error)) + ' ' +
                             ReasonOf(StatusOfParseError(error)) +
                             "\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" +
                             JsonMessage("malformed request: " + error.message());
    Ignore(socket.WriteAll(text), "the client speaks no HTTP");
    return false;
  }

  socket.set_read_timeout(seconds(limits.body_seconds));
  HttpRequest request = TakeHead(parser);
  const auto target = parser.get().target();
  auto parsed = ParseTarget({target.data(), target.size()}, request);
  BeastExchange exchange(socket, buffer, parser, std::move(request));
  if (!parsed) {
    const std::string body = JsonMessage(parsed.error().detail());
    return exchange.Reply(400, "application/json", body, {}).has_value() && exchange.keep_alive();
  }
  handle(exchange);
  if (!exchange.answered()) {
    Ignore(exchange.Reply(500, "application/json", JsonMessage("no answer"), {}), "client is gone");
  }
  return exchange.Finish().has_value() && exchange.keep_alive();
}

// Ends our side and reads what the client still sends, for a moment: closing a socket with unread
// input would take the last answer away from the client.
void Linger(int socket) {
  constexpr int kPatienceMillis = 200;
  ::shutdown(socket, SHUT_WR);
  std::array<char, 16384> sink;
  for (int rounds = 0; rounds < 16; ++rounds) {
    pollfd fd{socket, POLLIN, 0};
    if (::poll(&fd, 1, kPatienceMillis) <= 0) return;
    if (::recv(socket, sink.data(), sink.size(), MSG_DONTWAIT) <= 0) return;
  }
}

}  // namespace

// One literal: docker clients look at the part before the slash only.
std::string ServerHeader() { return "Docker/" STRATA_VERSION " (linux)"; }

void ServeConnection(UniqueFd socket, int stop_fd, const ConnectionLimits& limits,
                     const std::function<void(Exchange&)>& handle) noexcept {
  try {
    SocketStream stream(socket.get(), stop_fd);
    beast::flat_buffer buffer(limits.header_bytes + kBodyPiece);
    while (ServeOne(stream, buffer, limits, handle)) {
    }
    Linger(socket.get());
  } catch (const std::exception& exception) {
    log::Error("a connection was dropped", {{"error", exception.what()}});
  }
}

}  // namespace strata::manager
