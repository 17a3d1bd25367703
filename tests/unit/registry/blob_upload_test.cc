#include "manager/registry/blob_upload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <mutex>

#include "tests/unit/registry/registry_fixture.h"

namespace strata::manager {
namespace {

using support::ScriptedHttpServer;
using support::ScriptedReply;
using support::ScriptedRequest;
using ::testing::HasSubstr;

const std::uint64_t kUploadChunk = QuickRegistryOptions().upload_chunk;

// The uploading half of a registry, for one blob at a time, that can be told to fail.
class UploadRegistry {
 public:
  ScriptedReply operator()(const ScriptedRequest& request) {
    const std::scoped_lock lock(mu_);
    if (request.method == "POST") {
      if (mounts && request.target.contains("mount=")) return {.status = 201};
      data.clear();
      return {.status = 202, .headers = {{"Location", "/v2/x/blobs/uploads/1?_state=a%2Fb"}}};
    }
    if (!request.target.contains("_state=a%2Fb")) return {.status = 404};
    if (request.method == "GET") {
      if (forgets) return {.status = 404};
      return {.status = 204,
              .headers = {{"Range", "0-" + std::to_string(data.empty() ? 0 : data.size() - 1)}}};
    }
    if (request.method == "DELETE") {
      deleted = true;
      return {.status = 204};
    }
    if (request.method == "PATCH") {
      const std::string range = request.Header("Content-Range");
      if (std::stoull(range) != data.size()) return {.status = 416};
      if (failures > 0) {
        --failures;
        data += request.body.substr(0, request.body.size() / 2);
        return {.raw = ""};
      }
    } else if (failures > 0) {
      --failures;
      return {.raw = ""};
    }
    data += request.body;
    if (request.method == "PATCH") {
      return {.status = 202, .headers = {{"Location", "/v2/x/blobs/uploads/1?_state=a%2Fb"}}};
    }
    const std::string digest = Digest::Of(data).ToString();
    if (!request.target.ends_with("&digest=sha256%3A" + digest.substr(7))) {
      return {.status = 400, .body = R"({"errors":[{"code":"DIGEST_INVALID"}]})"};
    }
    return {.status = 201};
  }

  bool mounts = false;
  bool forgets = false;
  bool deleted = false;
  int failures = 0;
  std::string data;

 private:
  std::mutex mu_;
};

class BlobUploadTest : public ::testing::Test {
 protected:
  Result<BlobUpload> Push(const std::string& content, std::optional<std::string> from = {},
                          std::optional<Digest> digest = {}) {
    const auto client = OpenClient(server_);
    BlobSource source{.digest = digest.value_or(Digest::Of(content)),
                      .content = {.length = content.size(),
                                  .read =
                                      [&](std::uint64_t offset, std::span<std::byte> buffer) {
                                        std::memcpy(buffer.data(), content.data() + offset,
                                                    buffer.size());
                                        return Result<std::size_t>(buffer.size());
                                      }},
                      .on_progress = [&](std::uint64_t sent) { progress_ = sent; }};
    return client->PushBlob("x", source, from);
  }

  UploadRegistry registry_;
  ScriptedHttpServer server_{Registry(std::ref(registry_))};
  std::uint64_t progress_ = 0;
};

TEST_F(BlobUploadTest, SmallBlobsGoInOnePut) {
  const std::string content(5000, 'y');
  const auto result = Push(content);
  ASSERT_TRUE(result) << result.error().ToString();
  EXPECT_EQ(*result, BlobUpload::kUploaded);
  EXPECT_EQ(registry_.data, content);
  EXPECT_EQ(progress_, content.size());
  EXPECT_EQ(server_.Count("PATCH", ""), 0U);
}

TEST_F(BlobUploadTest, EmptyBlobs) { EXPECT_TRUE(Push("")); }

TEST_F(BlobUploadTest, LargeBlobsGoInChunksAndAreResumed) {
  const std::string content(kUploadChunk * 2 + 12345, 'z');
  registry_.failures = 2;
  const auto result = Push(content);
  ASSERT_TRUE(result) << result.error().ToString();
  EXPECT_EQ(registry_.data, content);
  EXPECT_EQ(server_.Count("POST", ""), 1U);
  EXPECT_EQ(progress_, content.size());
}

TEST_F(BlobUploadTest, AForgottenUploadBeginsAnew) {
  const std::string content(kUploadChunk + 1, 'z');
  registry_.failures = 1;
  registry_.forgets = true;
  EXPECT_TRUE(Push(content));
  EXPECT_EQ(registry_.data, content);
  EXPECT_EQ(server_.Count("POST", ""), 2U);
}

TEST_F(BlobUploadTest, MountsFromAnotherRepository) {
  registry_.mounts = true;
  const auto result = Push("content", "other/repo");
  ASSERT_TRUE(result);
  EXPECT_EQ(*result, BlobUpload::kMounted);
  EXPECT_EQ(server_.Count("POST", "from=other%2Frepo"), 1U);
  EXPECT_EQ(server_.Count("PUT", ""), 0U);
}

TEST_F(BlobUploadTest, UploadsWhereMountingIsNotTaken) {
  const auto result = Push("content", "other/repo");
  ASSERT_TRUE(result);
  EXPECT_EQ(*result, BlobUpload::kUploaded);
  EXPECT_EQ(registry_.data, "content");
}

TEST_F(BlobUploadTest, ARefusedUploadIsWithdrawn) {
  const auto result = Push("content", {}, Digest::Of("other"));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), EINVAL);
  EXPECT_THAT(result.error().ToString(), HasSubstr("DIGEST_INVALID"));
  EXPECT_TRUE(registry_.deleted);
}

TEST_F(BlobUploadTest, GivesUpInTheEnd) {
  registry_.failures = 100;
  const auto result = Push("content");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ECONNRESET);
  EXPECT_EQ(server_.Count("GET", "/uploads/"), static_cast<std::size_t>(kUploadAttempts - 1));
}

TEST(BlobUploadAnswers, ARegistryThatSaysNowhere) {
  ScriptedHttpServer server(
      Registry([](const ScriptedRequest&) { return ScriptedReply{.status = 202}; }));
  BlobSource source{.digest = Digest::Of(""), .content = {}, .on_progress = {}};
  const auto result = OpenClient(server)->PushBlob("x", source, std::nullopt);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), EPROTO);
}

TEST(BlobUploadAnswers, UploadUrlsElsewhereGetNoCredentials) {
  ScriptedHttpServer elsewhere([](const ScriptedRequest&) { return ScriptedReply{.status = 201}; });
  ScriptedHttpServer server([&](const ScriptedRequest& request) {
    if (request.Header("Authorization").empty()) {
      return ScriptedReply{.status = 401, .headers = {{"WWW-Authenticate", "Basic realm=x"}}};
    }
    return ScriptedReply{.status = 202, .headers = {{"Location", elsewhere.Url("/up")}}};
  });
  const auto client = OpenClient(server, {.username = "ann", .password = "pw"});
  BlobSource source{.digest = Digest::Of(""), .content = {}, .on_progress = {}};
  EXPECT_TRUE(client->PushBlob("x", source, std::nullopt));
  ASSERT_EQ(elsewhere.Requests().size(), 1U);
  EXPECT_EQ(elsewhere.Requests()[0].Header("Authorization"), "");
}

}  // namespace
}  // namespace strata::manager
