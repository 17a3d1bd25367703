// The bytes of a recipe file: docs/formats/recipe.md.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/digest.h"
#include "base/little.h"

namespace strata::layerstore::recipe {

inline constexpr const char* kFileName = "recipe";
// Beside it: contents that are in the tar and no longer in the layer.
inline constexpr const char* kReplacedName = "replaced";
inline constexpr const char* kFsName = "fs";

inline constexpr std::array<char, 8> kMagic = {'S', 'T', 'R', 'A', 'T', 'R', 'C', 'P'};
inline constexpr std::uint32_t kVersion = 1;

enum HeaderFlag : std::uint32_t { kHasReplaced = 1U << 0U };

struct Header {
  std::array<char, 8> magic{};
  Little<std::uint32_t> version;
  Little<std::uint32_t> flags;
  Digest::Bytes diff_id{};
  Little<std::uint64_t> tar_bytes;
  Little<std::uint64_t> records;
  Little<std::uint64_t> body_checksum;    // XXH3-64 of everything after the header
  Little<std::uint64_t> header_checksum;  // XXH3-64 of what stands before it
};
static_assert(sizeof(Header) == 80 && alignof(Header) == 1);

// The body is one zstd stream of records. Each begins with its kind; numbers are LEB128.
enum Kind : std::uint8_t {
  kLiteral = 0,   // length, bytes
  kContent = 1,   // path, length, checksum: a whole file
  kExtents = 2,   // path, count, (gap, length) each, checksum: parts of a file
  kReplaced = 3,  // path, number: what was there until now is replaced/<number>
};

// What a reader must make room for.
inline constexpr std::size_t kLiteralMax = std::size_t{64} * 1024;
inline constexpr std::size_t kExtentsMax = 4096;
inline constexpr std::size_t kPathMax = std::size_t{1} << 20U;
inline constexpr int kWindowLog = 19;

}  // namespace strata::layerstore::recipe
