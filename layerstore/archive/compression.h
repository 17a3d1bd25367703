// Compressed streams, in this process and without helper programs: gzip by ISA-L, zstd by libzstd.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/error.h"

namespace strata::layerstore {

enum class Compression : std::uint8_t { kNone, kGzip, kZstd };

// How many bytes of a stream's start DetectCompression() wants to see.
inline constexpr std::size_t kMagicBytes = 6;

// A zstd stream says itself how much memory it takes to read it. Whatever zstd(1) writes without
// being told otherwise fits into this, --ultra included; most streams take 8 MiB or less.
inline constexpr int kZstdWindowLogMax = 27;  // 128 MiB

// Tells the compression by its magic bytes; `start` may be shorter only if the stream is. ENOTSUP
// for the known ones that are not supported (xz, bzip2). Anything else is not compressed.
Result<Compression> DetectCompression(std::string_view start);

// Turns a compressed stream into a plain one, piece by piece. Not thread-safe.
class Decompressor {
 public:
  virtual ~Decompressor() = default;

  struct Progress {
    std::size_t consumed = 0;
    std::size_t produced = 0;
  };
  // Makes progress whenever there is input, or output held back, and room. EBADMSG: corrupt; E2BIG:
  // takes more memory than kZstdWindowLogMax allows.
  virtual Result<Progress> Run(std::string_view input, std::span<char> output) = 0;
  // After the last input, once Run() with no input produces nothing more: EBADMSG if the stream
  // was cut off.
  virtual Result<> Finish() = 0;
};

std::unique_ptr<Decompressor> MakeDecompressor(Compression compression);

}  // namespace strata::layerstore
