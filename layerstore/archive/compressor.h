// Compresses streams: the other direction of compression.h.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "base/error.h"
#include "layerstore/archive/compression.h"

namespace strata::layerstore {

// The same bytes give the same output however they are cut into Write() calls. Not thread-safe.
class Compressor {
 public:
  using Sink = std::function<Result<>(std::string_view)>;

  virtual ~Compressor() = default;

  virtual Result<> Write(std::string_view data) = 0;
  // Writes what is left and what ends the stream. Call once.
  virtual Result<> Finish() = 0;
};

// kNone passes the bytes on as they are.
std::unique_ptr<Compressor> MakeCompressor(Compression compression, Compressor::Sink sink);

}  // namespace strata::layerstore
