#include "layerstore/archive/compressor.h"

#include <utility>

#include "layerstore/archive/gzip_writer.h"
#include "layerstore/archive/zstd_writer.h"

namespace strata::layerstore {
namespace {

class PlainWriter final : public Compressor {
 public:
  explicit PlainWriter(Sink sink) : sink_(std::move(sink)) {}
  Result<> Write(std::string_view data) override { return sink_(data); }
  Result<> Finish() override { return {}; }

 private:
  Sink sink_;
};

}  // namespace

std::unique_ptr<Compressor> MakeCompressor(Compression compression, Compressor::Sink sink) {
  switch (compression) {
    case Compression::kGzip:
      return std::make_unique<GzipWriter>(std::move(sink));
    case Compression::kZstd:
      return std::make_unique<ZstdWriter>(std::move(sink));
    case Compression::kNone:
      break;
  }
  return std::make_unique<PlainWriter>(std::move(sink));
}

}  // namespace strata::layerstore
