#include "manager/registry/web_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "tests/support/scripted_http_server.h"

namespace strata::manager {
namespace {

using std::chrono::milliseconds;
using support::ScriptedHttpServer;
using support::ScriptedReply;
using support::ScriptedRequest;
using ::testing::HasSubstr;

WebOptions QuickOptions() {
  WebOptions options;
  options.connect_timeout = milliseconds(2000);
  options.stall_timeout = milliseconds(1200);
  options.user_agent = "strata-test";
  return options;
}

WebRequest Get(const std::string& url) {
  WebRequest request;
  request.url = url;
  return request;
}

TEST(WebClient, ExchangesHeadersAndBodies) {
  ScriptedHttpServer server([](const ScriptedRequest& request) {
    return ScriptedReply{.status = 201,
                         .headers = {{"X-Echo", request.Header("x-in")}},
                         .body = request.method + " " + request.target + " " + request.body};
  });
  WebClient web(QuickOptions(), nullptr);
  WebRequest request = Get(server.Url("/a?b=c"));
  request.method = "POST";
  request.headers = {{"X-In", "seven"}};
  request.authorization = "Basic abc";
  request.body = "hello";
  const auto response = web.Perform(request);
  ASSERT_TRUE(response) << response.error().ToString();
  EXPECT_EQ(response->status, 201);
  EXPECT_EQ(response->Header("x-ECHO"), "seven");
  EXPECT_EQ(response->body, "POST /a?b=c hello");
  const auto seen = server.Requests().at(0);
  EXPECT_EQ(seen.Header("User-Agent"), "strata-test");
  EXPECT_EQ(seen.Header("Authorization"), "Basic abc");
  EXPECT_EQ(seen.Header("Content-Type"), "");
}

TEST(WebClient, StreamsUploadsAndDownloads) {
  const std::string big(3U << 20U, 'x');
  ScriptedHttpServer server([&](const ScriptedRequest& request) {
    return ScriptedReply{.body =
                             request.method == "PUT" ? std::to_string(request.body.size()) : big};
  });
  WebClient web(QuickOptions(), nullptr);
  WebRequest put = Get(server.Url("/u"));
  put.method = "PUT";
  put.upload = WebUpload{.length = big.size(),
                         .read = [&](std::uint64_t offset, std::span<std::byte> buffer) {
                           std::memcpy(buffer.data(), big.data() + offset, buffer.size());
                           return Result<std::size_t>(buffer.size());
                         }};
  const auto stored = web.Perform(put);
  ASSERT_TRUE(stored) << stored.error().ToString();
  EXPECT_EQ(stored->body, std::to_string(big.size()));

  std::string received;
  WebRequest get = Get(server.Url("/d"));
  get.sink = [&](const WebResponse& head, std::string_view piece) -> Result<> {
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.Header("Content-Length"), std::to_string(big.size()));
    received += piece;
    return {};
  };
  ASSERT_TRUE(web.Perform(get));
  EXPECT_EQ(received, big);
}

TEST(WebClient, BodiesThatAreTooLargeAreCutOff) {
  ScriptedHttpServer server(
      [](const ScriptedRequest&) { return ScriptedReply{.body = std::string(5000, 'x')}; });
  WebClient web(QuickOptions(), nullptr);
  WebRequest request = Get(server.Url("/"));
  request.body_limit = 4999;
  const auto response = web.Perform(request);
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code(), EFBIG);
  EXPECT_THAT(response.error().ToString(), HasSubstr(server.Address()));
}

TEST(WebClient, ASinksErrorIsReturned) {
  ScriptedHttpServer server([](const ScriptedRequest&) { return ScriptedReply{.body = "x"}; });
  WebClient web(QuickOptions(), nullptr);
  WebRequest request = Get(server.Url("/"));
  request.sink = [](const WebResponse&, std::string_view) -> Result<> {
    return Fail(ENOSPC, "disk");
  };
  const auto response = web.Perform(request);
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code(), ENOSPC);
}

TEST(WebClient, ASilentServerEndsWithATimeout) {
  for (const bool after_head : {false, true}) {
    ScriptedHttpServer server([=](const ScriptedRequest&) {
      ScriptedReply reply{.body = std::string(100, 'x')};
      reply.silent = !after_head;
      reply.hang_after = 10;
      return reply;
    });
    WebClient web(QuickOptions(), nullptr);
    const auto start = std::chrono::steady_clock::now();
    const auto response = web.Perform(Get(server.Url("/")));
    ASSERT_FALSE(response);
    EXPECT_EQ(response.error().code(), ETIMEDOUT) << response.error().ToString();
    EXPECT_THAT(response.error().ToString(), HasSubstr(server.Address()));
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  }
}

TEST(WebClient, ASlowConsumerIsNotAStalledServer) {
  ScriptedHttpServer server(
      [](const ScriptedRequest&) { return ScriptedReply{.body = std::string(2U << 20U, 'x')}; });
  WebOptions options = QuickOptions();
  options.stall_timeout = milliseconds(200);
  options.stall_bytes = 1U << 30U;  // any window that counts the consumer's time would fail
  WebClient web(options, nullptr);
  WebRequest request = Get(server.Url("/"));
  int pauses = 2;
  request.sink = [&](const WebResponse&, std::string_view) -> Result<> {
    if (pauses-- > 0) std::this_thread::sleep_for(milliseconds(400));
    return {};
  };
  const auto response = web.Perform(request);
  EXPECT_TRUE(response) << response.error().ToString();
}

TEST(WebClient, TruncatedAndGarbledAnswersAreErrors) {
  ScriptedHttpServer server([](const ScriptedRequest& request) {
    if (request.target == "/cut")
      return ScriptedReply{.body = std::string(100, 'x'), .drop_after = 50};
    if (request.target == "/none") return ScriptedReply{.raw = ""};
    return ScriptedReply{.raw = "\x7f\x45LF no http at all\r\n\r\n"};
  });
  WebClient web(QuickOptions(), nullptr);
  const auto cut = web.Perform(Get(server.Url("/cut")));
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().code(), ECONNRESET) << cut.error().ToString();
  const auto none = web.Perform(Get(server.Url("/none")));
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code(), ECONNRESET) << none.error().ToString();
  const auto garbage = web.Perform(Get(server.Url("/garbage")));
  ASSERT_FALSE(garbage);
  EXPECT_EQ(garbage.error().code(), EPROTO) << garbage.error().ToString();
}

TEST(WebClient, NobodyListening) {
  std::string url;
  {
    ScriptedHttpServer server([](const ScriptedRequest&) { return ScriptedReply{}; });
    url = server.Url("/");
  }
  WebClient web(QuickOptions(), nullptr);
  const auto response = web.Perform(Get(url));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code(), ECONNREFUSED) << response.error().ToString();
}

TEST(WebClient, PlainHttpStaysOnTheMachine) {
  WebClient web(QuickOptions(), nullptr);
  const auto response = web.Perform(Get("http://registry.example/v2/"));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code(), EACCES);
  EXPECT_THAT(response.error().ToString(), HasSubstr("registry.example"));
  EXPECT_TRUE(web.PlainHttpAllowed("http://127.0.0.1:5000/"));
  EXPECT_FALSE(web.PlainHttpAllowed("http://10.0.0.1/"));
  WebOptions insecure = QuickOptions();
  insecure.insecure_hosts = {"10.0.0.1:5000"};
  WebClient lax(insecure, nullptr);
  EXPECT_TRUE(lax.PlainHttpAllowed("http://10.0.0.1:5000/"));
  EXPECT_FALSE(lax.PlainHttpAllowed("http://10.0.0.1:5001/"));
}

TEST(WebClient, RedirectsLoseTheCredentialsOnAnotherHost) {
  ScriptedHttpServer other([](const ScriptedRequest&) { return ScriptedReply{.body = "there"}; });
  ScriptedHttpServer server([&](const ScriptedRequest& request) {
    if (request.target == "/same")
      return ScriptedReply{.status = 307, .headers = {{"Location", "/x"}}};
    if (request.target == "/other") {
      return ScriptedReply{.status = 307, .headers = {{"Location", other.Url("/blob")}}};
    }
    return ScriptedReply{.body = "here"};
  });
  WebClient web(QuickOptions(), nullptr);
  WebRequest request = Get(server.Url("/same"));
  request.authorization = "Bearer secret";
  auto response = web.Perform(request);
  ASSERT_TRUE(response);
  EXPECT_EQ(response->body, "here");
  EXPECT_EQ(server.Requests().at(1).Header("Authorization"), "Bearer secret");
  request.url = server.Url("/other");
  request.headers = {{"Range", "bytes=5-"}};
  response = web.Perform(request);
  ASSERT_TRUE(response);
  EXPECT_EQ(response->body, "there");
  EXPECT_EQ(response->url, other.Url("/blob"));
  EXPECT_EQ(other.Requests().at(0).Header("Authorization"), "");
  EXPECT_EQ(other.Requests().at(0).Header("Range"), "bytes=5-");
}

TEST(WebClient, RedirectsThatLeadNowhereGood) {
  ScriptedHttpServer server([](const ScriptedRequest& request) {
    const std::string to = request.target == "/loop"   ? "/loop"
                           : request.target == "/file" ? "file:///etc/passwd"
                                                       : "http://registry.example/";
    return ScriptedReply{.status = 302, .headers = {{"Location", to}}};
  });
  WebClient web(QuickOptions(), nullptr);
  const auto loop = web.Perform(Get(server.Url("/loop")));
  ASSERT_FALSE(loop);
  EXPECT_EQ(loop.error().code(), ELOOP);
  const auto file = web.Perform(Get(server.Url("/file")));
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code(), EINVAL);
  const auto plain = web.Perform(Get(server.Url("/plain")));
  ASSERT_FALSE(plain);
  EXPECT_EQ(plain.error().code(), EACCES);
}

TEST(WebClient, HeadersCanNotBeSmuggled) {
  ScriptedHttpServer server([](const ScriptedRequest&) { return ScriptedReply{}; });
  WebClient web(QuickOptions(), nullptr);
  WebRequest request = Get(server.Url("/"));
  request.authorization = "Bearer x\r\nX-Evil: 1";
  const auto response = web.Perform(request);
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code(), EINVAL);
  EXPECT_TRUE(server.Requests().empty());
}

TEST(WebClient, CancelingEndsAnExchangeInTime) {
  ScriptedHttpServer server([](const ScriptedRequest&) { return ScriptedReply{.silent = true}; });
  Cancellation cancel;
  WebOptions options = QuickOptions();
  options.stall_timeout = std::chrono::seconds(60);
  WebClient web(options, &cancel);
  const std::jthread canceler([&] {
    std::this_thread::sleep_for(milliseconds(200));
    cancel.Cancel();
  });
  const auto start = std::chrono::steady_clock::now();
  const auto response = web.Perform(Get(server.Url("/")));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code(), ECANCELED);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

}  // namespace
}  // namespace strata::manager
