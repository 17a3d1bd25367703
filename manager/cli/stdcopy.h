// The framing of output without a terminal: eight bytes (stream, three zeros, big-endian length) in
// front of each piece (Docker Engine API, "Attach to a container").
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace strata::manager::cli {

inline constexpr std::string_view kFramedOutput = "application/vnd.docker.multiplexed-stream";

// Takes the stream in pieces of any size and hands payload on as it comes, without waiting for the
// end of a frame. Not thread-safe.
class StreamDemuxer {
 public:
  enum class Stream : std::uint8_t { kStdout = 1, kStderr = 2 };
  using Sink = std::function<Result<>(Stream, std::string_view)>;

  explicit StreamDemuxer(Sink sink) : sink_(std::move(sink)) {}

  // The sink's error; EPROTO for bytes that are no frame; EIO with the message for the daemon's own
  // error frame.
  Result<> Feed(std::string_view data);

  // Whether the stream ended between frames.
  bool AtBoundary() const { return left_ == 0 && head_.empty(); }

 private:
  Result<> StartFrame();

  Sink sink_;
  std::string head_;
  std::uint8_t stream_ = 0;
  std::uint32_t left_ = 0;
  std::string daemon_error_;
};

}  // namespace strata::manager::cli
