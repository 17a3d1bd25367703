#include "manager/registry/blob_download.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/unit/registry/registry_fixture.h"

namespace strata::manager {
namespace {

using support::ScriptedHttpServer;
using support::ScriptedReply;
using support::ScriptedRequest;
using ::testing::HasSubstr;

std::string Content(std::size_t size) {
  std::string content(size, '\0');
  for (std::size_t i = 0; i < size; ++i) content[i] = static_cast<char>(i * 2654435761U >> 13U);
  return content;
}

std::size_t RangeOf(const ScriptedRequest& request) {
  const std::string range = request.Header("Range");
  return range.empty() ? 0 : std::stoul(range.substr(std::string_view("bytes=").size()));
}

// Drops every connection after `piece` bytes; honours Range.
ScriptedReply Piecewise(const ScriptedRequest& request, const std::string& content,
                        std::size_t piece) {
  const std::size_t start = RangeOf(request);
  ScriptedReply reply{.body = content.substr(start)};
  if (!request.Header("Range").empty()) {
    reply.status = 206;
    reply.headers.emplace_back("Content-Range", "bytes " + std::to_string(start) + "-" +
                                                    std::to_string(content.size() - 1) + "/" +
                                                    std::to_string(content.size()));
  }
  if (reply.body.size() > piece) reply.drop_after = piece;
  return reply;
}

Result<std::string> Download(const ScriptedHttpServer& server, const std::string& content,
                             Cancellation* cancel = nullptr) {
  std::string received;
  const auto client = OpenClient(server, {}, cancel);
  Result<> result = client->StreamBlob("x", Digest::Of(content), content.size(),
                                       [&](std::string_view bytes) -> Result<> {
                                         received += bytes;
                                         return {};
                                       });
  if (!result) return std::unexpected(std::move(result).error());
  return received;
}

TEST(BlobDownload, ResumesWhereTheConnectionDropped) {
  const std::string content = Content(1'000'000);
  ScriptedHttpServer server(Registry(
      [&](const ScriptedRequest& request) { return Piecewise(request, content, 300'000); }));
  const auto received = Download(server, content);
  ASSERT_TRUE(received) << received.error().ToString();
  EXPECT_EQ(*received, content);
  EXPECT_EQ(server.Count("GET", "/blobs/"), 4U);
}

TEST(BlobDownload, ARegistryWithoutRangesIsReadAgain) {
  const std::string content = Content(100'000);
  std::atomic<std::size_t> piece = 30'000;
  ScriptedHttpServer server(Registry([&](const ScriptedRequest&) {
    ScriptedReply reply{.body = content};
    if (piece < content.size()) reply.drop_after = piece;
    piece = piece * 2;
    return reply;
  }));
  const auto received = Download(server, content);
  ASSERT_TRUE(received) << received.error().ToString();
  EXPECT_EQ(*received, content);
}

TEST(BlobDownload, TemporaryRefusalsAreSatOut) {
  const std::string content = Content(1000);
  std::atomic<int> calls = 0;
  ScriptedHttpServer server(Registry([&](const ScriptedRequest& request) {
    if (++calls < 3) return ScriptedReply{.status = 502};
    return Piecewise(request, content, content.size());
  }));
  EXPECT_TRUE(Download(server, content));
}

TEST(BlobDownload, AConnectionThatNeverGetsAnywhereIsGivenUp) {
  const std::string content = Content(1000);
  ScriptedHttpServer server(
      Registry([&](const ScriptedRequest& request) { return Piecewise(request, content, 0); }));
  const auto received = Download(server, content);
  ASSERT_FALSE(received);
  EXPECT_EQ(received.error().code(), ECONNRESET);
  EXPECT_EQ(server.Count("GET", "/blobs/"), static_cast<std::size_t>(kBlobAttempts));
}

TEST(BlobDownload, AStalledDownloadIsResumedAndASilentOneIsNot) {
  const std::string content = Content(100'000);
  std::atomic<int> calls = 0;
  ScriptedHttpServer server(Registry([&](const ScriptedRequest& request) {
    ScriptedReply reply = Piecewise(request, content, content.size());
    if (++calls == 1) reply.hang_after = 50'000;
    return reply;
  }));
  EXPECT_TRUE(Download(server, content));
  EXPECT_EQ(calls, 2);

  ScriptedHttpServer silent(
      Registry([](const ScriptedRequest&) { return ScriptedReply{.silent = true}; }));
  const auto received = Download(silent, content);
  ASSERT_FALSE(received);
  EXPECT_EQ(received.error().code(), ETIMEDOUT);
  EXPECT_EQ(silent.Count("GET", "/blobs/"), 1U);
}

TEST(BlobDownload, MoreBytesThanPromised) {
  const std::string content = Content(1000);
  ScriptedHttpServer server(
      Registry([&](const ScriptedRequest&) { return ScriptedReply{.body = content + "x"}; }));
  const auto received = Download(server, content);
  ASSERT_FALSE(received);
  EXPECT_EQ(received.error().code(), EBADMSG);
  EXPECT_EQ(server.Count("GET", "/blobs/"), 1U);
}

TEST(BlobDownload, FewerBytesThanPromised) {
  const std::string content = Content(1000);
  ScriptedHttpServer server(Registry(
      [&](const ScriptedRequest&) { return ScriptedReply{.body = content.substr(0, 999)}; }));
  const auto received = Download(server, content);
  ASSERT_FALSE(received);
  EXPECT_EQ(received.error().code(), EBADMSG) << received.error().ToString();
  EXPECT_EQ(server.Count("GET", "/blobs/"), 1U);
}

TEST(BlobDownload, RangesNobodyAskedFor) {
  const std::string content = Content(1000);
  for (const char* range : {"bytes 500-999/1000", "pages 1-2/3", ""}) {
    ScriptedHttpServer server(Registry([&](const ScriptedRequest&) {
      return ScriptedReply{.status = 206, .headers = {{"Content-Range", range}}, .body = content};
    }));
    const auto received = Download(server, content);
    ASSERT_FALSE(received) << range;
    EXPECT_EQ(received.error().code(), EPROTO);
  }
}

TEST(BlobDownload, AConsumersErrorEndsItAtOnce) {
  const std::string content = Content(1000);
  ScriptedHttpServer server(
      Registry([&](const ScriptedRequest&) { return ScriptedReply{.body = content}; }));
  const auto client = OpenClient(server);
  const Result<> result =
      client->StreamBlob("x", Digest::Of(content), content.size(),
                         [](std::string_view) -> Result<> { return Fail(ENOSPC, "disk"); });
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ENOSPC);
  EXPECT_EQ(server.Count("GET", "/blobs/"), 1U);
}

TEST(BlobDownload, WholeBlobsAreVerified) {
  const std::string content = Content(1000);
  ScriptedHttpServer server(
      Registry([&](const ScriptedRequest&) { return ScriptedReply{.body = content}; }));
  const auto client = OpenClient(server);
  EXPECT_EQ(client->ReadBlob("x", Digest::Of(content), 1000, 1000).value_or("-"), content);
  const auto wrong = client->ReadBlob("x", Digest::Of("other"), 1000, 1000);
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code(), EBADMSG);
  const auto large = client->ReadBlob("x", Digest::Of(content), 1000, 999);
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().code(), EFBIG);
}

TEST(BlobDownload, EmptyBlobs) {
  ScriptedHttpServer server(Registry([](const ScriptedRequest&) { return ScriptedReply{}; }));
  EXPECT_EQ(OpenClient(server)->ReadBlob("x", Digest::Of(""), 0, 10).value_or("-"), "");
}

TEST(BlobDownload, CancelingEndsIt) {
  const std::string content = Content(100'000);
  ScriptedHttpServer server(Registry(
      [&](const ScriptedRequest&) { return ScriptedReply{.body = content, .hang_after = 1000}; }));
  Cancellation cancel;
  const std::jthread canceler([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    cancel.Cancel();
  });
  const auto received = Download(server, content, &cancel);
  ASSERT_FALSE(received);
  EXPECT_EQ(received.error().code(), ECANCELED);
}

}  // namespace
}  // namespace strata::manager
