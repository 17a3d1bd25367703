// The HTTP client against the exact bytes a daemon may send.
#include "manager/cli/http.h"

#include <gmock/gmock.h>
#include <sys/socket.h>

#include <array>

#include "base/file_ops.h"

namespace strata::manager::cli {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

struct Wire {
  UniqueFd client;
  UniqueFd daemon;
};

Wire MakeWire() {
  std::array<int, 2> fds{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()), 0);
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// An exchange whose daemon has said `answer` and closed.
HttpExchange Answered(std::string_view answer) {
  Wire wire = MakeWire();
  EXPECT_TRUE(WriteAll(FileOps::System(), wire.daemon.get(), answer));
  EXPECT_EQ(::shutdown(wire.daemon.get(), SHUT_WR), 0);
  return HttpExchange(std::move(wire.client));
}

std::string BodyOf(std::string_view answer) {
  HttpExchange exchange = Answered(answer);
  if (auto head = exchange.ReadHead(); !head) return "head: " + head.error().ToString();
  auto body = exchange.ReadAll(1000);
  return body ? *body : "body: " + body.error().ToString();
}

TEST(Http, EveryFraming) {
  EXPECT_EQ(BodyOf("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello more"), "hello");
  EXPECT_EQ(BodyOf("HTTP/1.1 200 OK\r\n\r\nuntil the end"), "until the end");
  EXPECT_EQ(BodyOf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: x\r\n\r\n"),
            "hello world");
  EXPECT_EQ(BodyOf("HTTP/1.1 204 No Content\r\n\r\n"), "");
  EXPECT_EQ(BodyOf("HTTP/1.1 200 OK\ncontent-length: 2\n\nok"), "ok");
  EXPECT_EQ(BodyOf("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nx"), "x");
}

TEST(Http, HeadersAreFoundWhateverTheirCase) {
  HttpExchange exchange = Answered("HTTP/1.1 404 Not Found\r\nContent-TYPE:  text/plain \r\n\r\n");
  ASSERT_TRUE(exchange.ReadHead());
  EXPECT_EQ(exchange.head().status, 404);
  EXPECT_EQ(exchange.head().reason, "Not Found");
  EXPECT_EQ(exchange.head().Header("content-type"), "text/plain");
  EXPECT_EQ(exchange.head().Header("absent"), "");
}

TEST(Http, BrokenAnswersAreErrors) {
  EXPECT_THAT(BodyOf(""), StartsWith("head: "));
  EXPECT_THAT(BodyOf("SSH-2.0-OpenSSH\r\n\r\n"), HasSubstr("not an HTTP answer"));
  EXPECT_THAT(BodyOf("HTTP/1.1 abc\r\n\r\n"), HasSubstr("not an HTTP answer"));
  EXPECT_THAT(BodyOf("HTTP/1.1 200 OK\r\nno colon\r\n\r\n"), HasSubstr("bad header"));
  EXPECT_THAT(BodyOf("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"), StartsWith("body: "));
  EXPECT_THAT(BodyOf("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"), HasSubstr("Content-Length"));
  EXPECT_THAT(BodyOf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
              HasSubstr("chunk size"));
  EXPECT_THAT(BodyOf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n"),
              HasSubstr("longer than its size"));
  EXPECT_THAT(BodyOf("HTTP/1.1 200 OK\r\n\r\n" + std::string(2000, 'x')), HasSubstr("too long"));
  EXPECT_THAT(BodyOf("HTTP/1.1 200 OK\r\nX: " + std::string(200'000, 'x') + "\r\n\r\n"),
              StartsWith("head: "));
}

TEST(Http, WhatFollowsAnUpgradeIsHandedOver) {
  HttpExchange exchange =
      Answered("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nfirst bytes");
  ASSERT_TRUE(exchange.ReadHead());
  EXPECT_EQ(exchange.head().status, 101);
  const auto connection = std::move(exchange).TakeOver();
  EXPECT_EQ(connection.received, "first bytes");
  EXPECT_TRUE(connection.socket);
}

std::string Sent(const HttpRequest& request) {
  Wire wire = MakeWire();
  HttpExchange exchange(std::move(wire.client));
  EXPECT_TRUE(exchange.Send(request, "strata"));
  {
    const auto closed = std::move(exchange).TakeOver();
  }
  return ReadAll(FileOps::System(), wire.daemon.get(), 1 << 20).value_or("");
}

TEST(Http, Requests) {
  HttpRequest request;
  request.target = "/x";
  EXPECT_EQ(Sent(request),
            "GET /x HTTP/1.1\r\nHost: strata\r\nUser-Agent: strata\r\nConnection: close\r\n\r\n");
  request.method = "POST";
  request.body = "{}";
  request.content_type = "application/json";
  EXPECT_THAT(Sent(request), HasSubstr("Content-Length: 2\r\n\r\n{}"));
  request.upgrade = true;
  EXPECT_THAT(Sent(request), HasSubstr("Connection: Upgrade\r\nUpgrade: tcp\r\n"));
}

TEST(Http, BodiesFromASourceAreChunked) {
  HttpRequest request;
  request.method = "POST";
  request.target = "/x";
  request.body_source = [pieces = std::vector<std::string>{"", "world", "hello "}]() mutable {
    std::string piece = pieces.back();
    pieces.pop_back();
    return Result<std::string>(piece);
  };
  EXPECT_THAT(Sent(request), testing::EndsWith("\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n"));
}

TEST(Http, AnEarlyAnswerEndsTheUpload) {
  Wire wire = MakeWire();
  ASSERT_TRUE(WriteAll(FileOps::System(), wire.daemon.get(),
                       "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"));
  HttpExchange exchange(std::move(wire.client));
  HttpRequest request;
  request.method = "POST";
  request.target = "/x";
  int pieces = 0;
  request.body_source = [&]() -> Result<std::string> {
    return ++pieces > 5 ? std::string() : std::string("data");
  };
  ASSERT_TRUE(exchange.Send(request, "strata"));
  EXPECT_LT(pieces, 5);
  ASSERT_TRUE(exchange.ReadHead());
  EXPECT_EQ(exchange.head().status, 400);
}

TEST(Http, Escaping) {
  EXPECT_EQ(PercentEncode("a b/c:d"), "a%20b%2Fc%3Ad");
  EXPECT_EQ(PercentEncode("a b/c:d", "/:"), "a%20b/c:d");
  EXPECT_EQ(PercentEncode("\xff"), "%FF");
  EXPECT_EQ(Query({{"a", "1"}, {"b", ""}, {"c", "x&y"}}), "?a=1&c=x%26y");
  EXPECT_EQ(Query({{"a", ""}}), "");
}

}  // namespace
}  // namespace strata::manager::cli
