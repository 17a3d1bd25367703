// Decompression piece by piece, and what is wrong with broken streams.
#include "layerstore/archive/compression.h"

#include <gtest/gtest.h>

#include "base/try.h"
#include "layerstore/archive/compressor.h"
#include "tests/support/must.h"
#include "tests/unit/layerstore/tar_builder.h"

namespace strata::layerstore {
namespace {

using support::Gzip;
using support::Must;
using support::Zstd;

// Feeds `in_piece` bytes at a time into `out_piece` bytes of room.
Result<std::string> Decompress(const std::string& bytes, std::size_t in_piece,
                               std::size_t out_piece) {
  STRATA_TRY_ASSIGN(const Compression compression, DetectCompression(bytes));
  const auto decompressor = MakeDecompressor(compression);
  std::string plain;
  std::string room(out_piece, '\0');
  for (std::size_t at = 0; at <= bytes.size(); at += in_piece) {
    std::string_view input = std::string_view(bytes).substr(at, in_piece);
    for (;;) {
      STRATA_TRY_ASSIGN(const auto progress, decompressor->Run(input, room));
      input.remove_prefix(progress.consumed);
      plain.append(room, 0, progress.produced);
      if (progress.consumed == 0 && progress.produced == 0) break;
    }
    if (!input.empty()) return Fail(EBADMSG, "stuck");
  }
  STRATA_TRY(decompressor->Finish());
  return plain;
}

std::string Sample() {
  std::string text;
  for (int i = 0; i < 30000; ++i) text += std::to_string(i * 7919 % 10007) + ',';
  return text;
}

TEST(CompressionTest, AnyPieces) {
  const std::string text = Sample();
  for (const std::string& bytes : {Gzip(text), Zstd(text), text}) {
    for (const std::size_t piece : {std::size_t{1}, std::size_t{1000}, bytes.size()}) {
      EXPECT_EQ(Must(Decompress(bytes, piece, 4096)), text);
    }
  }
}

TEST(CompressionTest, SeveralMembersAndPadding) {
  const std::string text = Sample();
  for (const std::size_t piece : {std::size_t{1}, std::size_t{100000}}) {
    EXPECT_EQ(Must(Decompress(Gzip(text) + Gzip("") + Gzip("end"), piece, 4096)), text + "end");
    EXPECT_EQ(Must(Decompress(Gzip(text) + std::string(512, '\0'), piece, 4096)), text);
    EXPECT_EQ(Must(Decompress(Zstd(text) + Zstd("end"), piece, 4096)), text + "end");
    // A skippable frame in front.
    EXPECT_EQ(
        Must(Decompress(std::string("\x50\x2a\x4d\x18\x03\0\0\0abc", 11) + Zstd("x"), piece, 4096)),
        "x");
  }
}

TEST(CompressionTest, BrokenStreams) {
  const std::string gzip = Gzip(Sample());
  const std::string zstd = Zstd(Sample());
  const auto code = [](const std::string& bytes) {
    const auto result = Decompress(bytes, 1000, 4096);
    return result ? 0 : result.error().code();
  };
  for (const std::string& bytes : {gzip, zstd}) {
    for (const std::size_t cut :
         {std::size_t{1}, std::size_t{5}, std::size_t{9}, bytes.size() / 2, bytes.size() - 8}) {
      EXPECT_EQ(code(bytes.substr(0, bytes.size() - cut)), EBADMSG) << cut;
    }
  }
  std::string checksum = gzip;
  checksum[gzip.size() - 7] = static_cast<char>(checksum[gzip.size() - 7] ^ 1);
  EXPECT_EQ(code(checksum), EBADMSG);
  EXPECT_EQ(code(gzip + "garbage after the end"), EBADMSG);
  EXPECT_EQ(code(gzip + std::string(10, '\0') + gzip), EBADMSG);
  EXPECT_EQ(code("\x1f\x8b garbage that is no header"), EBADMSG);
  EXPECT_EQ(code("BZh91AY"), ENOTSUP);
}

std::string Compress(Compression compression, const std::string& text, std::size_t piece) {
  std::string out;
  const auto compressor = MakeCompressor(compression, [&](std::string_view data) -> Result<> {
    out.append(data);
    return {};
  });
  for (std::size_t at = 0; at < text.size(); at += piece) {
    Must(compressor->Write(text.substr(at, piece)));
  }
  Must(compressor->Finish());
  return out;
}

TEST(CompressionTest, WhatIsCompressedIsReadBack) {
  const std::string text = Sample();
  for (const Compression compression : {Compression::kGzip, Compression::kZstd}) {
    const std::string out = Compress(compression, text, 777);
    EXPECT_LT(out.size(), text.size());
    EXPECT_EQ(Must(DetectCompression(out)), compression);
    EXPECT_EQ(Must(Decompress(out, 100, 4096)), text);
    EXPECT_EQ(Compress(compression, text, text.size()), out) << "however it is cut";
    EXPECT_EQ(Must(Decompress(Compress(compression, "", 1), 100, 4096)), "");
  }
  EXPECT_EQ(Compress(Compression::kNone, text, 777), text);
}

// A frame's header alone says how much memory it takes: of 2^(10 + the byte's upper five bits).
TEST(CompressionTest, ZstdWindowsAreLimited) {
  const auto run = [](int window_log) {
    const std::string frame =
        std::string("\x28\xb5\x2f\xfd\x00", 5) + static_cast<char>((window_log - 10) << 3);
    return Decompress(frame + std::string(3, '\0'), 100, 4096);
  };
  const auto too_large = run(kZstdWindowLogMax + 1);
  ASSERT_FALSE(too_large);
  EXPECT_EQ(too_large.error().code(), E2BIG);
  EXPECT_NE(too_large.error().ToString().find("more than 128 MiB"), std::string::npos);
  const auto cut_off = run(kZstdWindowLogMax);
  ASSERT_FALSE(cut_off);
  EXPECT_EQ(cut_off.error().code(), EBADMSG);
}

TEST(CompressionTest, CompressorsStopWhenTheirSinkDoes) {
  const std::string noise = Zstd(Sample());
  for (const Compression compression :
       {Compression::kNone, Compression::kGzip, Compression::kZstd}) {
    const auto compressor = MakeCompressor(
        compression, [](std::string_view) -> Result<> { return Fail(ENOSPC, "sink"); });
    auto done = compressor->Write(noise);
    if (done) done = compressor->Finish();
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code(), ENOSPC);
  }
}

}  // namespace
}  // namespace strata::layerstore
