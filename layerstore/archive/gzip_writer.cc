#include "layerstore/archive/gzip_writer.h"

#include <isa-l/igzip_lib.h>

#include <utility>
#include <vector>

#include "base/try.h"
#include "layerstore/archive/byte_channel.h"

namespace strata::layerstore {
namespace {

constexpr std::size_t kBlock = std::size_t{256} * 1024;

}  // namespace

struct GzipWriter::State {
  isal_zstream stream;
  std::vector<std::uint8_t> level_buffer = std::vector<std::uint8_t>(ISAL_DEF_LVL1_DEFAULT);
  Chunk input{kBlock};
  Chunk output{kBlock};
};

GzipWriter::GzipWriter(Sink sink) : sink_(std::move(sink)), state_(std::make_unique<State>()) {
  isal_zstream& stream = state_->stream;
  isal_deflate_init(&stream);
  stream.gzip_flag = IGZIP_GZIP;
  stream.level = 1;
  stream.level_buf = state_->level_buffer.data();
  stream.level_buf_size = static_cast<std::uint32_t>(state_->level_buffer.size());
}

GzipWriter::~GzipWriter() = default;

Result<> GzipWriter::Write(std::string_view data) {
  while (!data.empty()) {
    data.remove_prefix(state_->input.Append(data));
    if (state_->input.room() == 0) STRATA_TRY(Deflate(false));
  }
  return {};
}

Result<> GzipWriter::Finish() { return Deflate(true); }

Result<> GzipWriter::Deflate(bool last) {
  isal_zstream& stream = state_->stream;
  stream.next_in = reinterpret_cast<std::uint8_t*>(state_->input.data());
  stream.avail_in = static_cast<std::uint32_t>(state_->input.size());
  stream.end_of_stream = last ? 1 : 0;
  stream.flush = NO_FLUSH;
  do {
    stream.next_out = reinterpret_cast<std::uint8_t*>(state_->output.data());
    stream.avail_out = static_cast<std::uint32_t>(state_->output.capacity());
    const int status = isal_deflate(&stream);
    if (status != COMP_OK) return Fail(EIO, "gzip", "ISA-L status " + std::to_string(status));
    STRATA_TRY(sink_({state_->output.data(), state_->output.capacity() - stream.avail_out}));
  } while (stream.avail_out == 0);
  state_->input.set_size(0);
  return {};
}

}  // namespace strata::layerstore
