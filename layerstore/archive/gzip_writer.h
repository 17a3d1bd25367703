// Compresses a stream to gzip, so that an imported layer can be pushed.
#pragma once

#include <memory>
#include <string_view>

#include "base/error.h"
#include "layerstore/archive/compressor.h"

namespace strata::layerstore {

// One gzip member without name and time. The same on processors of one kind (ISA-L picks its code
// by the processor's).
class GzipWriter final : public Compressor {
 public:
  explicit GzipWriter(Sink sink);
  ~GzipWriter() override;
  GzipWriter(const GzipWriter&) = delete;
  GzipWriter& operator=(const GzipWriter&) = delete;

  Result<> Write(std::string_view data) override;
  Result<> Finish() override;

 private:
  struct State;
  Result<> Deflate(bool last);

  Sink sink_;
  std::unique_ptr<State> state_;
};

}  // namespace strata::layerstore
