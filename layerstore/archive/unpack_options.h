// Limits and policy for unpacking a layer.
#pragma once

#include <cstdint>

namespace strata::layerstore {

// What one layer may ask for; beyond it, E2BIG naming the limit and the entry.
struct UnpackLimits {
  std::uint64_t entries = 10'000'000;
  std::uint64_t total_bytes = std::uint64_t{1} << 40U;  // sum of file sizes, holes included
  // Decompressed bytes per compressed byte, looked at from `ratio_floor` decompressed bytes on.
  // DEFLATE can not exceed 1032:1, real layers stay below 100:1.
  std::uint64_t expansion_ratio = 1000;
  std::uint64_t ratio_floor = std::uint64_t{256} << 20U;
  std::uint32_t path_depth = 1000;   // components
  std::uint32_t path_bytes = 65536;  // whole path; a single name is limited to 255 bytes
};

}  // namespace strata::layerstore
