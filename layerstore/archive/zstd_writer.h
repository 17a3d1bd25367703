// Compresses a stream to zstd.
#pragma once

#include <memory>
#include <string_view>

#include "base/error.h"
#include "layerstore/archive/compressor.h"

namespace strata::layerstore {

// One frame with a checksum, at zstd's own default level, whose window every reader takes. The same
// for one version of libzstd.
class ZstdWriter final : public Compressor {
 public:
  explicit ZstdWriter(Sink sink);
  ~ZstdWriter() override;
  ZstdWriter(const ZstdWriter&) = delete;
  ZstdWriter& operator=(const ZstdWriter&) = delete;

  Result<> Write(std::string_view data) override;
  Result<> Finish() override;

 private:
  struct State;

  Sink sink_;
  std::unique_ptr<State> state_;
};

}  // namespace strata::layerstore
