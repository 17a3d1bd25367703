// Compressed streams. However the input is cut: the same bytes or the same error, in memory and
// steps that are bounded; and what zlib reads, too, is the same for both.
#include <zlib.h>

#include <algorithm>
#include <optional>
#include <span>

#include "layerstore/archive/compression.h"
#include "tests/fuzz/target.h"
#include "tests/unit/layerstore/tar_builder.h"

namespace strata::fuzz {
namespace {

using layerstore::Compression;

constexpr std::size_t kOutputMost = std::size_t{1} << 20U;

struct Outcome {
  std::string plain;
  bool good = false;
  bool cut = false;  // there would have been more
};

Outcome Decompress(Compression compression, std::string_view input, std::size_t input_piece,
                   std::size_t output_piece) {
  Outcome outcome;
  const auto decompressor = layerstore::MakeDecompressor(compression);
  std::string buffer(output_piece, '\0');
  // Each step takes or gives something, or is the last of its piece of input.
  std::size_t steps = 2 * (input.size() + kOutputMost) + 16;
  for (;;) {
    std::string_view piece = input.substr(0, input_piece);
    input.remove_prefix(piece.size());
    const bool ended = piece.empty();
    for (;;) {
      Expect(steps-- > 0, "decompression goes on");
      const auto progress = decompressor->Run(piece, std::span(buffer));
      if (!progress) return outcome;
      Expect(progress->consumed <= piece.size() && progress->produced <= buffer.size(),
             "no more is used than there is");
      outcome.plain.append(buffer, 0, progress->produced);
      if (outcome.plain.size() > kOutputMost) {
        outcome.cut = true;
        return outcome;
      }
      piece.remove_prefix(progress->consumed);
      if (progress->consumed > 0 || progress->produced > 0) continue;
      if (!piece.empty()) return outcome;
      break;
    }
    if (ended) break;
  }
  outcome.good = decompressor->Finish().has_value();
  return outcome;
}

// One gzip member and nothing after it.
std::optional<std::string> ByZlib(std::string_view input) {
  z_stream stream = {};
  Expect(inflateInit2(&stream, 15 + 16) == Z_OK, "zlib starts");
  std::string plain(kOutputMost, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data()));
  stream.avail_in = static_cast<uInt>(input.size());
  stream.next_out = reinterpret_cast<Bytef*>(plain.data());
  stream.avail_out = static_cast<uInt>(plain.size());
  const int status = inflate(&stream, Z_FINISH);
  plain.resize(stream.total_out);
  const bool whole = status == Z_STREAM_END && stream.avail_in == 0;
  inflateEnd(&stream);
  return whole ? std::optional(std::move(plain)) : std::nullopt;
}

}  // namespace

void Repair(std::string&) {}

void TryInput(std::string_view input) {
  const auto compression = layerstore::DetectCompression(input);
  if (!compression) return;
  const Outcome whole = Decompress(*compression, input, input.size() + 1, std::size_t{64} * 1024);
  const Outcome pieces = Decompress(*compression, input, 7, 61);
  if (whole.good && pieces.good) {
    Expect(whole.plain == pieces.plain, "pieces give what the whole gives");
  }
  // libzstd compares a frame's size with its header only when it has all of an empty last block.
  if (*compression != Compression::kZstd) {
    Expect(whole.good == pieces.good, "pieces are read as the whole is");
  }
  if (*compression != Compression::kGzip) return;
  if (const auto other = ByZlib(input)) {
    Expect(whole.good && whole.plain == *other, "what zlib reads is read the same");
  }
}

std::vector<Input> Seeds() {
  const std::string text = "a layer, a layer, another layer of bytes that repeat";
  const std::string long_text(100'000, 'z');
  std::string gzip = support::Gzip(text);
  std::string named = gzip.substr(0, 10);
  named[3] = 0x1E;  // FHCRC, FEXTRA, FNAME, FCOMMENT: the checksum of the header is wrong
  named += std::string("\x04\0abcdname\0comment\0\x12\x34", 21) + gzip.substr(10);
  const std::string skippable("\x50\x2a\x4d\x18\x04\0\0\0skip", 12);
  return {{"gzip", gzip},
          {"gzip-two-members", gzip + support::Gzip("second")},
          {"gzip-padded", gzip + std::string(600, '\0')},
          {"gzip-fields", named},
          {"gzip-long", support::Gzip(long_text)},
          {"gzip-empty", support::Gzip("")},
          {"zstd", support::Zstd(text)},
          {"zstd-two-frames", support::Zstd(text) + support::Zstd("second")},
          {"zstd-skippable", skippable + support::Zstd(text) + skippable},
          {"zstd-long", support::Zstd(long_text)},
          // Window of 2 GiB in the header of a frame.
          {"zstd-window", std::string("\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00", 9)},
          {"plain", text}};
}

}  // namespace strata::fuzz
