// Tells an image archive from a root filesystem by the start of a stream. Private to this folder.
#pragma once

#include <string_view>

#include "base/error.h"

namespace strata::layerstore {

enum class StreamKind : std::uint8_t { kRootFilesystem, kArchive };

// How much of a stream's start SniffStream() should get.
inline constexpr std::size_t kSniffBytes = std::size_t{128} * 1024;

// By the name of the first member that is not the root: writers of image archives put nothing in
// front of their own files. What is no tar at all counts as a root filesystem, whose import then
// says what is wrong. ENOTSUP for an unsupported compression.
Result<StreamKind> SniffStream(std::string_view start);

}  // namespace strata::layerstore
