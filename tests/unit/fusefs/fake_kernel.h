// Plays the kernel: writes requests as they come over /dev/fuse and takes the replies. No mount, no
// threads: a request is served in the call.
#pragma once

#include <fcntl.h>

#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "fusefs/transport/transport.h"
#include "fusefs/transport/wire.h"

namespace strata::fusefs::testing {

struct Reply {
  fuse_out_header header{};
  std::vector<std::byte> body;

  template <class T>
  T As() const {
    T value{};
    std::memcpy(&value, body.data(), std::min(sizeof value, body.size()));
    return value;
  }
  std::string Text() const { return {reinterpret_cast<const char*>(body.data()), body.size()}; }
  int Errno() const { return -header.error; }
};

class FakeKernel final : public Transport {
 public:
  FakeKernel() : device_(::open("/dev/null", O_RDWR | O_CLOEXEC)) {}

  std::vector<Reply> replies;
  int refuse_with = 0;  // errno every Send fails with, 0: none

  Result<> Start(RequestSink& sink) override {
    sink_ = &sink;
    return {};
  }
  bool wants_uring() const noexcept override { return false; }
  Result<> HandshakeDone(bool /*over_uring*/) override { return {}; }
  void Stop() noexcept override {}
  int ended() const noexcept override { return -1; }
  int device() const noexcept override { return device_.get(); }
  ssize_t Send(std::span<const iovec> message) noexcept override {
    std::vector<std::byte> bytes;
    for (const iovec& part : message) {
      const auto* data = static_cast<const std::byte*>(part.iov_base);
      bytes.insert(bytes.end(), data, data + part.iov_len);
    }
    Reply reply;
    std::memcpy(&reply.header, bytes.data(), sizeof reply.header);
    reply.body.assign(bytes.begin() + sizeof reply.header, bytes.end());
    replies.push_back(std::move(reply));
    if (refuse_with != 0) {
      errno = refuse_with;
      return -1;
    }
    return static_cast<ssize_t>(bytes.size());
  }
  ssize_t SendFromPipe(int, std::size_t, unsigned) noexcept override {
    errno = ENOTSUP;
    return -1;
  }

  // Names the request sent last.
  std::uint64_t last_unique() const { return unique_; }

  // Sends one request and returns the one reply it must get.
  Reply Ask(std::uint32_t opcode, std::uint64_t node, std::vector<std::byte> body) {
    replies.clear();
    Tell(opcode, node, std::move(body));
    if (replies.size() != 1) {
      Reply none;
      none.header.error = -9999;
      return none;
    }
    return replies.front();
  }
  void Tell(std::uint32_t opcode, std::uint64_t node, std::vector<std::byte> body) {
    fuse_in_header header{};
    header.len = static_cast<std::uint32_t>(sizeof header + body.size());
    header.opcode = opcode;
    header.unique = ++unique_;
    header.nodeid = node;
    header.uid = 1000;
    header.gid = 1001;
    header.pid = 77;
    std::vector<std::byte> request(sizeof header);
    std::memcpy(request.data(), &header, sizeof header);
    request.insert(request.end(), body.begin(), body.end());
    sink_->Process(request, {});
  }
  // The handshake of a current kernel that offers `flags`.
  Reply Init(std::uint64_t flags) {
    struct {
      fuse_init_in in{};
    } body;
    body.in.major = 7;
    body.in.minor = 41;
    body.in.max_readahead = 131072;
    body.in.flags = static_cast<std::uint32_t>(flags);
    body.in.flags2 = static_cast<std::uint32_t>(flags >> 32);
    return Ask(FUSE_INIT, 0, Bytes(body));
  }

  template <class T>
  static std::vector<std::byte> Bytes(const T& value) {
    const auto* data = reinterpret_cast<const std::byte*>(&value);
    return {data, data + sizeof value};
  }
  // Strings as requests carry them, each with its final NUL.
  static std::vector<std::byte> Names(std::initializer_list<std::string> names) {
    std::vector<std::byte> bytes;
    for (const std::string& name : names) {
      const auto* data = reinterpret_cast<const std::byte*>(name.c_str());
      bytes.insert(bytes.end(), data, data + name.size() + 1);
    }
    return bytes;
  }
  static std::vector<std::byte> Join(std::vector<std::byte> a, const std::vector<std::byte>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  }

 private:
  const UniqueFd device_;
  RequestSink* sink_ = nullptr;
  std::uint64_t unique_ = 0;
};

}  // namespace strata::fusefs::testing
