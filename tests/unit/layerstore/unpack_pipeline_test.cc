// The stages a layer goes through: what each gets, how they stop, and that queues are bounded.
#include "layerstore/archive/unpack_pipeline.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <map>
#include <random>
#include <string>
#include <thread>

#include "tests/support/must.h"
#include "tests/support/temp_root.h"
#include "tests/unit/layerstore/tar_builder.h"

namespace strata::layerstore {
namespace {

using support::Gzip;
using support::Must;
using support::TarBuilder;

// More than all queues together hold, and nothing that could be compressed.
std::string LargeTar() {
  std::mt19937_64 random(7);
  std::string noise(std::size_t{12} << 20U, '\0');
  for (char& c : noise) c = static_cast<char>(random());
  return TarBuilder().AddDirectory("d").AddFile("d/noise", noise).Finish();
}

class UnpackPipelineTest : public ::testing::Test {
 protected:
  Result<PipelineResult> Run(const std::string& stream, UnpackPipeline::Verify verify = nullptr) {
    const std::string path = Must(temp_.MakeDir("layer-" + std::to_string(layers_++)));
    const UniqueFd root = Must(ops_.Open(AT_FDCWD, path.c_str(), O_RDONLY | O_DIRECTORY));
    UnpackPipeline pipeline(ops_, root.get(), Must(DetectCompression(stream)), {}, nullptr, nullptr,
                            std::move(verify));
    Result<> written;
    for (std::size_t at = 0; written && at < stream.size(); at += kPiece) {
      written = pipeline.Write(std::string_view(stream).substr(at, kPiece));
    }
    auto result = pipeline.Finish();
    stats_ = pipeline.stats();
    return result;
  }

  std::map<std::string, std::uint64_t> StageBytes() const {
    std::map<std::string, std::uint64_t> bytes;
    for (const StageStats& stage : stats_) bytes[stage.name] = stage.bytes;
    return bytes;
  }

  static constexpr std::size_t kPiece = 100'000;
  FileOps& ops_ = FileOps::System();
  support::TempRoot temp_ = Must(support::TempRoot::Create());
  int layers_ = 0;
  PipelineStats stats_;
};

TEST_F(UnpackPipelineTest, EveryStageGetsAllBytes) {
  const std::string tar = LargeTar();
  const std::string gzip = Gzip(tar);
  for (const std::string& stream : {gzip, tar}) {
    std::string verified;
    const auto result = Must(Run(stream, [&](std::string_view piece) -> Result<> {
      verified.append(piece);
      return {};
    }));
    EXPECT_EQ(result.diff_id, Digest::Of(tar));
    EXPECT_EQ(result.summary.entries, 2U);
    EXPECT_EQ(verified, stream);
    std::map<std::string, std::uint64_t> expected = {{"receive", stream.size()},
                                                     {"verify", stream.size()},
                                                     {"hash", tar.size()},
                                                     {"unpack", tar.size()}};
    if (stream == gzip) expected["decompress"] = gzip.size();
    EXPECT_EQ(StageBytes(), expected);
    for (const StageStats& stage : stats_) {
      EXPECT_GE(stage.busy.count(), 0) << stage.name;
      EXPECT_GE(stage.waited.count(), 0) << stage.name;
    }
    EXPECT_EQ(ToString(stats_).find("receive " + std::to_string(stream.size() >> 10U) + " KiB"),
              0U);
  }
}

TEST_F(UnpackPipelineTest, VerifyGetsAllOfACorruptStream) {
  std::string stream = Gzip(TarBuilder().AddFile("f", std::string(100'000, 'x')).Finish());
  stream[stream.size() / 2] = static_cast<char>(stream[stream.size() / 2] ^ 1);
  std::string verified;
  const auto result = Run(stream, [&](std::string_view piece) -> Result<> {
    verified.append(piece);
    return {};
  });
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), EBADMSG);
  EXPECT_EQ(verified, stream);
}

TEST_F(UnpackPipelineTest, AStageThatFailsStopsAll) {
  for (const std::string& stream : {Gzip(LargeTar()), LargeTar()}) {
    const auto result =
        Run(stream, [](std::string_view) -> Result<> { return Fail(ENOSPC, "keep"); });
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code(), ENOSPC) << result.error().ToString();
    EXPECT_LT(StageBytes().at("receive"), stream.size());
  }
}

TEST_F(UnpackPipelineTest, AStageThatWaitsHoldsUpTheReceiver) {
  constexpr std::size_t kInFlight = (kQueuedChunks + 3) * kChunkBytes;
  const std::string stream = Gzip(LargeTar());
  std::promise<void> go_on;
  std::shared_future<void> may_go_on = go_on.get_future().share();
  std::atomic<std::uint64_t> received = 0;
  const std::string path = Must(temp_.MakeDir("held"));
  const UniqueFd root = Must(ops_.Open(AT_FDCWD, path.c_str(), O_RDONLY | O_DIRECTORY));
  UnpackPipeline pipeline(ops_, root.get(), Compression::kGzip, {}, nullptr, nullptr,
                          [may_go_on](std::string_view) -> Result<> {
                            may_go_on.wait();
                            return {};
                          });
  std::jthread receiver([&] {
    for (std::size_t at = 0; at < stream.size(); at += kPiece) {
      const auto piece = std::string_view(stream).substr(at, kPiece);
      ASSERT_TRUE(pipeline.Write(piece));
      received += piece.size();
    }
  });
  while (received < kQueuedChunks * kChunkBytes) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LE(received, kInFlight);
  go_on.set_value();
  receiver.join();
  EXPECT_EQ(Must(pipeline.Finish()).diff_id, Digest::Of(LargeTar()));
  const PipelineStats stats = pipeline.stats();
  EXPECT_GE(stats[0].waited, std::chrono::milliseconds(150));  // receive
}

}  // namespace
}  // namespace strata::layerstore
