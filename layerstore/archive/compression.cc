#include "layerstore/archive/compression.h"

#include <isa-l/igzip_lib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <string>

#include "base/try.h"

namespace strata::layerstore {
namespace {

using std::string_view_literals::operator""sv;

class PlainCopier final : public Decompressor {
 public:
  Result<Progress> Run(std::string_view input, std::span<char> output) override {
    const std::size_t count = std::min(input.size(), output.size());
    if (count > 0) std::memcpy(output.data(), input.data(), count);
    return Progress{count, count};
  }
  Result<> Finish() override { return {}; }
};

// RFC 1952: a stream is one or more members. Zero bytes after the last one are padding.
class GzipDecompressor final : public Decompressor {
 public:
  GzipDecompressor() { StartMember(); }

  Result<Progress> Run(std::string_view input, std::span<char> output) override {
    Progress progress;
    if (between_members_) {
      progress.consumed = SkipPadding(input);
      input.remove_prefix(progress.consumed);
      if (input.empty()) return progress;
      if (padded_) return Fail(EBADMSG, "gzip", "garbage after the end of the stream");
      StartMember();
    }
    constexpr std::size_t kMax = std::numeric_limits<std::uint32_t>::max();
    // ISA-L's interface is not const-correct; it only reads from next_in.
    state_->next_in = reinterpret_cast<std::uint8_t*>(const_cast<char*>(input.data()));
    state_->avail_in = static_cast<std::uint32_t>(std::min(input.size(), kMax));
    state_->next_out = reinterpret_cast<std::uint8_t*>(output.data());
    state_->avail_out = static_cast<std::uint32_t>(std::min(output.size(), kMax));
    const std::uint32_t offered = state_->avail_in;
    const std::uint32_t room = state_->avail_out;
    const int status = isal_inflate(state_.get());
    if (status < 0) return Corrupt(status);
    progress.consumed += offered - state_->avail_in;
    progress.produced += room - state_->avail_out;
    between_members_ = state_->block_state == ISAL_BLOCK_FINISH;
    return progress;
  }

  Result<> Finish() override {
    if (between_members_) return {};
    return Fail(EBADMSG, "gzip", "the stream is truncated");
  }

 private:
  void StartMember() {
    isal_inflate_init(state_.get());
    state_->crc_flag = ISAL_GZIP;
    between_members_ = false;
  }

  std::size_t SkipPadding(std::string_view input) {
    const std::size_t zeros = std::min(input.find_first_not_of('\0'), input.size());
    if (zeros > 0) padded_ = true;
    return zeros;
  }

  static std::unexpected<Error> Corrupt(int status) {
    switch (status) {
      case ISAL_INCORRECT_CHECKSUM:
        return Fail(EBADMSG, "gzip", "the checksum is wrong");
      case ISAL_INVALID_WRAPPER:
        return Fail(EBADMSG, "gzip", "the header is invalid");
      default:
        return Fail(EBADMSG, "gzip", "the data is corrupt");
    }
  }

  std::unique_ptr<inflate_state> state_ = std::make_unique<inflate_state>();
  bool between_members_ = false;
  bool padded_ = false;
};

// RFC 8878: a stream is one or more frames, skippable ones included.
class ZstdDecompressor final : public Decompressor {
 public:
  ZstdDecompressor() : stream_(ZSTD_createDStream()) {
    if (stream_ == nullptr || ZSTD_isError(ZSTD_DCtx_setParameter(stream_, ZSTD_d_windowLogMax,
                                                                  kZstdWindowLogMax)) != 0) {
      ZSTD_freeDStream(stream_);
      throw std::bad_alloc();
    }
  }
  ~ZstdDecompressor() override { ZSTD_freeDStream(stream_); }
  ZstdDecompressor(const ZstdDecompressor&) = delete;
  ZstdDecompressor& operator=(const ZstdDecompressor&) = delete;

  Result<Progress> Run(std::string_view input, std::span<char> output) override {
    if (input.empty() && frame_complete_) return Progress{};
    ZSTD_inBuffer in{input.data(), input.size(), 0};
    ZSTD_outBuffer out{output.data(), output.size(), 0};
    const std::size_t status = ZSTD_decompressStream(stream_, &out, &in);
    if (ZSTD_getErrorCode(status) == ZSTD_error_frameParameter_windowTooLarge) {
      return Fail(E2BIG, "zstd",
                  "needs a window of more than " +
                      std::to_string((std::uint64_t{1} << kZstdWindowLogMax) >> 20U) + " MiB");
    }
    if (ZSTD_isError(status) != 0) {
      return Fail(EBADMSG, "zstd", std::string(ZSTD_getErrorName(status)));
    }
    frame_complete_ = status == 0;
    return Progress{in.pos, out.pos};
  }

  Result<> Finish() override {
    if (frame_complete_) return {};
    return Fail(EBADMSG, "zstd", "the stream is truncated");
  }

 private:
  ZSTD_DStream* stream_;
  bool frame_complete_ = false;
};

}  // namespace

Result<Compression> DetectCompression(std::string_view start) {
  constexpr auto kSkippableFrame = "\x2a\x4d\x18"sv;  // after one byte 0x50 to 0x5f
  if (start.starts_with("\x1f\x8b"sv)) return Compression::kGzip;
  if (start.starts_with("\x28\xb5\x2f\xfd"sv)) return Compression::kZstd;
  if (start.size() >= 4 && (static_cast<unsigned char>(start[0]) & 0xF0U) == 0x50U &&
      start.substr(1).starts_with(kSkippableFrame)) {
    return Compression::kZstd;
  }
  if (start.starts_with("\xfd\x37zXZ\0"sv)) {
    return Fail(ENOTSUP, "decompress", "xz is not supported; use gzip or zstd");
  }
  if (start.starts_with("BZh"sv)) {
    return Fail(ENOTSUP, "decompress", "bzip2 is not supported; use gzip or zstd");
  }
  return Compression::kNone;
}

std::unique_ptr<Decompressor> MakeDecompressor(Compression compression) {
  switch (compression) {
    case Compression::kGzip:
      return std::make_unique<GzipDecompressor>();
    case Compression::kZstd:
      return std::make_unique<ZstdDecompressor>();
    case Compression::kNone:
      break;
  }
  return std::make_unique<PlainCopier>();
}

}  // namespace strata::layerstore
