// Compresses a stream to gzip, so that an imported layer can be pushed.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "base/error.h"

namespace strata::layerstore {

// One gzip member without name and time. The same bytes give the same output however they are cut
// into Write() calls, on processors of one kind (ISA-L picks its code by the processor's).
// Not thread-safe.
class GzipWriter {
 public:
  using Sink = std::function<Result<>(std::string_view)>;

  explicit GzipWriter(Sink sink);
  ~GzipWriter();
  GzipWriter(const GzipWriter&) = delete;
  GzipWriter& operator=(const GzipWriter&) = delete;

  Result<> Write(std::string_view data);
  // Writes what is left and the trailer. Call once.
  Result<> Finish();

 private:
  struct State;
  Result<> Deflate(bool last);

  Sink sink_;
  std::unique_ptr<State> state_;
};

}  // namespace strata::layerstore
