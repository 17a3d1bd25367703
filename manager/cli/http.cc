#include "manager/cli/http.h"

#include <poll.h>
#include <strings.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>

#include "base/try.h"

namespace strata::manager::cli {
namespace {

constexpr std::size_t kReadSize = 64UL * 1024;
constexpr std::size_t kMaxHead = 64UL * 1024;

bool SameName(std::string_view a, std::string_view b) {
  return a.size() == b.size() && ::strncasecmp(a.data(), b.data(), a.size()) == 0;
}

std::string_view Trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

template <class T>
bool ParseWhole(std::string_view text, T& value, int base = 10) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

std::string RequestHead(const HttpRequest& request, std::string_view host) {
  std::string head = request.method + " " + request.target + " HTTP/1.1\r\nHost: ";
  head += host;
  head += "\r\nUser-Agent: strata\r\n";
  head += request.upgrade ? "Connection: Upgrade\r\nUpgrade: tcp\r\n" : "Connection: close\r\n";
  for (const auto& [name, value] : request.headers) head += name + ": " + value + "\r\n";
  if (!request.content_type.empty()) head += "Content-Type: " + request.content_type + "\r\n";
  if (request.body_source) {
    head += "Transfer-Encoding: chunked\r\n";
  } else if (!request.body.empty() || request.method == "POST" || request.method == "PUT") {
    head += "Content-Length: " + std::to_string(request.body.size()) + "\r\n";
  }
  return head + "\r\n";
}

bool HasAnswer(int socket) {
  pollfd entry{.fd = socket, .events = POLLIN, .revents = 0};
  return ::poll(&entry, 1, 0) > 0;
}

}  // namespace

std::string_view HttpHead::Header(std::string_view name) const {
  const auto found = std::ranges::find_if(
      headers, [&](const auto& header) { return SameName(header.first, name); });
  return found == headers.end() ? std::string_view() : std::string_view(found->second);
}

Result<> HttpExchange::WriteAll(std::string_view data) {
  while (!data.empty()) {
    const ssize_t sent = ::send(socket_.get(), data.data(), data.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      return FailErrno("send");
    }
    data.remove_prefix(static_cast<std::size_t>(sent));
  }
  return {};
}

Result<> HttpExchange::SendChunks(const HttpRequest& request) {
  while (true) {
    STRATA_TRY_ASSIGN(const std::string piece, request.body_source());
    if (piece.empty()) return WriteAll("0\r\n\r\n");
    char size[20];
    std::snprintf(size, sizeof(size), "%zx\r\n", piece.size());
    STRATA_TRY(WriteAll(std::string(size) + piece + "\r\n"));
    if (HasAnswer(socket_.get())) return {};
  }
}

Result<> HttpExchange::Send(const HttpRequest& request, std::string_view host) {
  head_request_ = request.method == "HEAD";
  auto sent = WriteAll(RequestHead(request, host) + request.body);
  if (sent && request.body_source) sent = SendChunks(request);
  if (!sent && (sent.error().code() == EPIPE || sent.error().code() == ECONNRESET) &&
      HasAnswer(socket_.get())) {
    return {};
  }
  return sent;
}

Result<std::size_t> HttpExchange::Fill() {
  buffer_.erase(0, std::exchange(taken_, 0));
  const std::size_t old = buffer_.size();
  buffer_.resize(old + kReadSize);
  ssize_t got = -1;
  do {
    got = ::recv(socket_.get(), buffer_.data() + old, kReadSize, 0);
  } while (got < 0 && errno == EINTR);
  const int error = errno;
  buffer_.resize(old + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  if (got < 0) return Fail(error, "receive");
  return static_cast<std::size_t>(got);
}

Result<std::string> HttpExchange::ReadLine() {
  while (true) {
    const auto end = buffer_.find('\n', taken_);
    if (end != std::string::npos) {
      std::string line = buffer_.substr(taken_, end - taken_);
      taken_ = end + 1;
      if (line.ends_with('\r')) line.pop_back();
      return line;
    }
    if (buffer_.size() - taken_ > kMaxHead) return Fail(EPROTO, "HTTP", "a line without an end");
    STRATA_TRY_ASSIGN(const std::size_t got, Fill());
    if (got == 0) return Fail(ECONNRESET, "HTTP", "the daemon closed the connection");
  }
}

Result<> HttpExchange::ParseHead(std::string_view status_line) {
  head_ = HttpHead();
  // HTTP/1.1 200 OK
  if (!status_line.starts_with("HTTP/1.") || status_line.size() < 12 ||
      !ParseWhole(status_line.substr(9, 3), head_.status) || head_.status < 100) {
    return Fail(EPROTO, "HTTP", "not an HTTP answer: " + std::string(status_line.substr(0, 40)));
  }
  if (status_line.size() > 13) head_.reason = status_line.substr(13);
  std::size_t total = 0;
  while (true) {
    STRATA_TRY_ASSIGN(const std::string line, ReadLine());
    if (line.empty()) return {};
    total += line.size();
    const auto colon = line.find(':');
    if (colon == std::string::npos || total > kMaxHead) {
      return Fail(EPROTO, "HTTP", "bad header line: " + line.substr(0, 40));
    }
    head_.headers.emplace_back(line.substr(0, colon),
                               Trimmed(std::string_view(line).substr(colon + 1)));
  }
}

Result<> HttpExchange::ChooseFraming() {
  const auto length = head_.Header("Content-Length");
  if (head_request_ || head_.status == 204 || head_.status == 304) {
    framing_ = Framing::kNone;
    done_ = true;
  } else if (SameName(head_.Header("Transfer-Encoding"), "chunked")) {
    framing_ = Framing::kChunked;
  } else if (!length.empty()) {
    framing_ = Framing::kLength;
    if (!ParseWhole(length, left_)) return Fail(EPROTO, "HTTP", "bad Content-Length");
    done_ = left_ == 0;
  } else {
    framing_ = Framing::kUntilClose;
  }
  return {};
}

Result<> HttpExchange::ReadHead() {
  do {  // 100 Continue and the like come before the answer
    STRATA_TRY_ASSIGN(const std::string line, ReadLine());
    STRATA_TRY(ParseHead(line));
  } while (head_.status >= 100 && head_.status < 200 && head_.status != 101);
  return ChooseFraming();
}

Result<std::size_t> HttpExchange::ReadRaw(std::span<char> buffer) {
  if (taken_ == buffer_.size()) {
    STRATA_TRY_ASSIGN(const std::size_t got, Fill());
    if (got == 0) return std::size_t{0};
  }
  const std::size_t count = std::min(buffer.size(), buffer_.size() - taken_);
  std::memcpy(buffer.data(), buffer_.data() + taken_, count);
  taken_ += count;
  return count;
}

Result<> HttpExchange::NextChunk() {
  if (!std::exchange(first_chunk_, false)) {
    STRATA_TRY_ASSIGN(const std::string end, ReadLine());
    if (!end.empty()) return Fail(EPROTO, "HTTP", "a chunk is longer than its size");
  }
  STRATA_TRY_ASSIGN(const std::string line, ReadLine());
  const std::string_view size = Trimmed(std::string_view(line).substr(0, line.find(';')));
  if (!ParseWhole(size, left_, 16)) return Fail(EPROTO, "HTTP", "bad chunk size");
  if (left_ > 0) return {};
  done_ = true;
  while (true) {  // trailers
    STRATA_TRY_ASSIGN(const std::string trailer, ReadLine());
    if (trailer.empty()) return {};
  }
}

Result<std::size_t> HttpExchange::Read(std::span<char> buffer) {
  if (!done_ && framing_ == Framing::kChunked && left_ == 0) STRATA_TRY(NextChunk());
  if (done_ || buffer.empty()) return std::size_t{0};
  if (framing_ != Framing::kUntilClose) {
    buffer = buffer.first(static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), left_)));
  }
  STRATA_TRY_ASSIGN(const std::size_t got, ReadRaw(buffer));
  if (framing_ == Framing::kUntilClose) {
    done_ = got == 0;
    return got;
  }
  if (got == 0) return Fail(ECONNRESET, "HTTP", "the daemon closed the connection");
  left_ -= got;
  done_ = framing_ == Framing::kLength && left_ == 0;
  return got;
}

Result<std::string> HttpExchange::ReadAll(std::size_t limit) {
  std::string body;
  std::vector<char> piece(kReadSize);
  while (true) {
    STRATA_TRY_ASSIGN(const std::size_t got, Read(piece));
    if (got == 0) return body;
    if (body.size() + got > limit) return Fail(EFBIG, "HTTP", "the answer is too long");
    body.append(piece.data(), got);
  }
}

HttpExchange::Connection HttpExchange::TakeOver() && {
  return {std::move(socket_), buffer_.substr(taken_)};
}

std::string PercentEncode(std::string_view text, std::string_view keep) {
  constexpr std::string_view kUnreserved =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    if (kUnreserved.find(c) != std::string_view::npos || keep.find(c) != std::string_view::npos) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += '%';
      out += kHex[byte >> 4U];
      out += kHex[byte & 15U];
    }
  }
  return out;
}

std::string Query(std::initializer_list<std::pair<std::string_view, std::string>> pairs) {
  std::string out;
  for (const auto& [name, value] : pairs) {
    if (value.empty()) continue;
    out += out.empty() ? '?' : '&';
    out += name;
    out += '=';
    out += PercentEncode(value);
  }
  return out;
}

}  // namespace strata::manager::cli
