// Names in a layer's tar: normalised, checked, and told apart from whiteouts.
// https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "layerstore/archive/unpack_options.h"
#include "layerstore/index/marks.h"

namespace strata::layerstore {

// A name from an archive as an error may show it: control characters as "\x0a", and no more than
// the first 200 bytes.
std::string ShownName(std::string_view name);

// Makes a tar name relative to the layer's root: no leading, doubled or trailing slash, no "." and
// no ".."; the root itself is "". Absolute names count from the root. EINVAL where ".." leads out
// of it, or for an empty name; ENAMETOOLONG and E2BIG for what `limits` and the kernel forbid.
Result<std::string> NormalizeEntryPath(std::string_view raw, const UnpackLimits& limits);

// What a normalised path asks for.
struct EntryName {
  enum class Kind : std::uint8_t {
    kOrdinary,
    kWhiteout,  // `target` in the same directory is hidden
    kOpaque,    // everything lower in `directory` is hidden
    kIgnored,   // other ".wh..wh." names, private to aufs
  } kind = Kind::kOrdinary;
  std::string_view directory;  // of the entry
  std::string_view name;       // last component
  std::string_view target;     // kWhiteout only
};

// Views into `path`. EINVAL for a whiteout without a proper target, and for a directory on the way
// that has a whiteout's name.
Result<EntryName> ClassifyEntryName(std::string_view path);

}  // namespace strata::layerstore
