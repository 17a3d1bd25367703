#include "manager/cli/stdcopy.h"

#include <algorithm>

#include "base/try.h"
#include "manager/cli/client.h"

namespace strata::manager::cli {
namespace {

constexpr std::size_t kHeadSize = 8;
constexpr std::uint8_t kStdin = 0;
constexpr std::uint8_t kDaemonErrorStream = 3;

}  // namespace

Result<> StreamDemuxer::StartFrame() {
  const auto byte = [this](std::size_t i) { return static_cast<std::uint8_t>(head_[i]); };
  stream_ = byte(0);
  if (stream_ > kDaemonErrorStream || byte(1) != 0 || byte(2) != 0 || byte(3) != 0) {
    return Fail(EPROTO, "output stream", "not framed as expected");
  }
  left_ = 0;
  for (std::size_t i = 4; i < kHeadSize; ++i) left_ = (left_ << 8U) | byte(i);
  head_.clear();
  return {};
}

Result<> StreamDemuxer::Feed(std::string_view data) {
  while (!data.empty()) {
    if (left_ == 0) {
      const std::size_t count = std::min(data.size(), kHeadSize - head_.size());
      head_.append(data.substr(0, count));
      data.remove_prefix(count);
      if (head_.size() == kHeadSize) STRATA_TRY(StartFrame());
      continue;
    }
    const std::string_view payload = data.substr(0, left_);
    data.remove_prefix(payload.size());
    left_ -= static_cast<std::uint32_t>(payload.size());
    if (stream_ == kDaemonErrorStream) {
      daemon_error_ += payload;
      if (left_ == 0) return Fail(EIO, kDaemonError, daemon_error_);
      continue;
    }
    // The daemon may echo standard input (stream 0); docker shows it as output.
    const Stream stream = stream_ == kStdin ? Stream::kStdout : static_cast<Stream>(stream_);
    STRATA_TRY(sink_(stream, payload));
  }
  return {};
}

}  // namespace strata::manager::cli
