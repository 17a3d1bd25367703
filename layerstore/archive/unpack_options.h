// Limits and policy for unpacking a layer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace strata::layerstore {

// What one layer may ask for; beyond it, E2BIG naming the limit and the entry.
struct UnpackLimits {
  std::uint64_t entries = 10'000'000;  // of the archive, and directories that only paths imply
  std::uint64_t total_bytes = std::uint64_t{1} << 40U;  // sum of file sizes, holes included
  // Decompressed bytes per compressed byte, looked at from `ratio_floor` decompressed bytes on.
  // DEFLATE can not exceed 1032:1, real layers stay below 100:1.
  std::uint64_t expansion_ratio = 1000;
  std::uint64_t ratio_floor = std::uint64_t{256} << 20U;
  std::uint32_t path_depth = 1000;   // components
  std::uint32_t path_bytes = 16384;  // whole path; a single name is limited to 255 bytes
  std::uint64_t name_bytes = std::uint64_t{2} << 30U;  // sum of all paths and link targets
  // Of one entry; the bytes are of names and values.
  std::uint32_t xattrs = 256;
  std::uint32_t xattr_bytes = 1U << 20U;
  // Of names that can be dealt with only at the archive's end: hard links that come before their
  // targets, names of what later entries replace, for a plain user directories without all of their
  // owner's rights; and of the members of an image archive.
  std::uint64_t kept_bytes = std::uint64_t{16} << 20U;
  // No limit of the layer: how many directories wait in memory for their times and default ACLs.
  // Those not used for long are finished early, and read again when they are used once more.
  std::size_t pending_directories = 4096;
  // What raises the limits, for errors to tell: "stratad --layer-limit". Null: nothing does.
  const char* setting = nullptr;

  // For what has been taken once, by whatever limits there were then.
  static UnpackLimits None();
};

// The limits' names for people, as SetLimit() takes them: "entries", "total-bytes", ...
std::vector<std::string_view> LimitNames();
// Sets the limit NAME to a number, in units of 1024, 1024^2, ... with K, M, G or T behind it.
// EINVAL for a name or number that is none, 0 included.
Result<> SetLimit(UnpackLimits& limits, std::string_view name, std::string_view value);

// E2BIG: "more than VALUE WHAT; the limit is NAME=VALUE (SETTING)". `name` is one of LimitNames().
std::unexpected<Error> OverLimit(const UnpackLimits& limits, const char* op, std::string_view name,
                                 std::uint64_t value, std::string_view what);

// E2BIG once `consumed` compressed bytes have become more than the limits allow.
Result<> CheckExpansion(const UnpackLimits& limits, std::uint64_t consumed, std::uint64_t produced);

}  // namespace strata::layerstore
