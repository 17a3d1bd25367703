#include "layerstore/archive/zstd_writer.h"

#include <zstd.h>

#include <new>
#include <string>
#include <utility>

#include "base/try.h"
#include "layerstore/archive/byte_channel.h"

namespace strata::layerstore {

struct ZstdWriter::State {
  State() : context(ZSTD_createCCtx()) {
    if (context == nullptr) throw std::bad_alloc();
  }
  ~State() { ZSTD_freeCCtx(context); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  // `more`: whether this call has to be made again.
  Result<> Compress(ZSTD_inBuffer& input, ZSTD_EndDirective directive, const Sink& sink,
                    bool& more) {
    ZSTD_outBuffer room{output.data(), output.capacity(), 0};
    const std::size_t left = ZSTD_compressStream2(context, &room, &input, directive);
    if (ZSTD_isError(left) != 0) return Fail(EIO, "zstd", std::string(ZSTD_getErrorName(left)));
    more = directive == ZSTD_e_end ? left > 0 : input.pos < input.size;
    return room.pos == 0 ? Result<>() : sink({output.data(), room.pos});
  }

  ZSTD_CCtx* const context;
  Chunk output{ZSTD_CStreamOutSize()};
};

ZstdWriter::ZstdWriter(Sink sink) : sink_(std::move(sink)), state_(std::make_unique<State>()) {
  ZSTD_CCtx_setParameter(state_->context, ZSTD_c_checksumFlag, 1);
}

ZstdWriter::~ZstdWriter() = default;

Result<> ZstdWriter::Write(std::string_view data) {
  ZSTD_inBuffer input{data.data(), data.size(), 0};
  bool more = !data.empty();
  while (more) STRATA_TRY(state_->Compress(input, ZSTD_e_continue, sink_, more));
  return {};
}

Result<> ZstdWriter::Finish() {
  ZSTD_inBuffer nothing{nullptr, 0, 0};
  bool more = true;
  while (more) STRATA_TRY(state_->Compress(nothing, ZSTD_e_end, sink_, more));
  return {};
}

}  // namespace strata::layerstore
