#include "fusefs/transport/init_reply.h"

#include <cstring>

#include "fusefs/transport/wire.h"

namespace strata::fusefs {
namespace {

// Backing files must lie on a filesystem that is not itself stacked; in return, one more stacking
// filesystem fits on top of us. include/linux/fs.h: FILESYSTEM_MAX_STACK_DEPTH is 2.
constexpr std::uint32_t kStackDepth = 1;

template <class T>
T Load(std::span<const std::byte> bytes, std::size_t offset) {
  T value{};
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

template <class T>
void Store(std::span<std::byte> bytes, std::size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

}  // namespace

std::optional<InitOffer> ParseInitRequest(std::span<const std::byte> request) {
  constexpr std::size_t kFlagsEnd = offsetof(fuse_init_in, flags) + sizeof(std::uint32_t);
  constexpr std::size_t kFlags2End = kFlagsEnd + sizeof(std::uint32_t);
  if (request.size() < sizeof(fuse_in_header) + kFlagsEnd) return std::nullopt;
  const auto header = Load<fuse_in_header>(request, 0);
  if (header.opcode != FUSE_INIT) return std::nullopt;
  const auto body = request.subspan(sizeof(fuse_in_header));
  InitOffer offer{.unique = header.unique,
                  .flags = Load<std::uint32_t>(body, offsetof(fuse_init_in, flags))};
  if ((offer.flags & wire::kInitExtended) != 0 && body.size() >= kFlags2End) {
    offer.flags |= std::uint64_t{Load<std::uint32_t>(body, kFlagsEnd)} << 32;
  }
  return offer;
}

Result<InitOutcome> CompleteInitReply(const InitOffer& offer, const InitWishes& wishes,
                                      std::span<std::byte> reply) {
  if (reply.size() < wire::kInitOutSize) return Fail(EPROTO, "complete INIT");
  std::uint64_t flags = Load<std::uint32_t>(reply, wire::kInitOutFlagsOffset) |
                        std::uint64_t{Load<std::uint32_t>(reply, wire::kInitOutFlags2Offset)} << 32;
  InitOutcome outcome;
  flags |= offer.flags & wire::kInitParallelDirOps;
  if ((offer.flags & wire::kInitHandleKillPrivV2) != 0) {
    flags |= wire::kInitHandleKillPrivV2;
    outcome.kill_privileges = true;
  }
  if ((offer.flags & wire::kInitSetxattrExtended) != 0) {
    flags |= wire::kInitSetxattrExtended;
    outcome.setxattr_extended = true;
  }
  constexpr std::uint64_t kNeeded = wire::kInitPassthrough | wire::kInitExtended;
  if (wishes.passthrough && (offer.flags & kNeeded) == kNeeded &&
      (flags & wire::kInitWritebackCache) == 0) {
    flags |= kNeeded;
    Store(reply, wire::kInitOutMaxStackDepthOffset, kStackDepth);
    outcome.passthrough = true;
  }
  constexpr std::uint64_t kUring = wire::kInitOverUring | wire::kInitExtended;
  if (wishes.over_uring && (offer.flags & kUring) == kUring) {
    flags |= kUring;
    outcome.over_uring = true;
  }
  Store(reply, wire::kInitOutFlagsOffset, static_cast<std::uint32_t>(flags));
  Store(reply, wire::kInitOutFlags2Offset, static_cast<std::uint32_t>(flags >> 32));
  return outcome;
}

}  // namespace strata::fusefs
