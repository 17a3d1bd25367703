#include "fusefs/frontend/raw_request.h"

#include <cstring>
#include <utility>

#include "fusefs/transport/wire.h"

namespace strata::fusefs {
namespace {

thread_local RawRequestScope::Context current;

// Takes what only the long form has out of it, and returns the request without.
std::span<std::byte> Shorten(std::span<std::byte> request) {
  constexpr std::size_t kNameAt = sizeof(fuse_in_header) + sizeof(wire::SetxattrIn);
  constexpr std::size_t kShortNameAt = sizeof(fuse_in_header) + wire::kShortSetxattrIn;
  fuse_in_header header{};
  if (request.size() < kNameAt) return request;
  std::memcpy(&header, request.data(), sizeof header);
  if (header.opcode != FUSE_SETXATTR) return request;
  wire::SetxattrIn body{};
  std::memcpy(&body, request.data() + sizeof header, sizeof body);
  current.setxattr_flags = body.extra_flags;
  header.len -= static_cast<std::uint32_t>(kNameAt - kShortNameAt);
  std::memcpy(request.data(), &header, sizeof header);
  std::memmove(request.data() + kShortNameAt, request.data() + kNameAt, request.size() - kNameAt);
  return request.first(request.size() - (kNameAt - kShortNameAt));
}

std::span<std::byte> AsCreate(std::span<std::byte> request) {
  fuse_in_header header{};
  if (request.size() < sizeof header) return request;
  std::memcpy(&header, request.data(), sizeof header);
  if (header.opcode != wire::kTmpfile) return request;
  current.tmpfile = true;
  header.opcode = FUSE_CREATE;
  std::memcpy(request.data(), &header, sizeof header);
  return request;
}

std::uint32_t FlagsAt(std::size_t offset) {
  std::uint32_t flags = 0;
  const std::size_t start = sizeof(fuse_in_header) + offset;
  if (current.request.size() < start + sizeof flags) return 0;
  std::memcpy(&flags, current.request.data() + start, sizeof flags);
  return flags;
}

}  // namespace

RawRequestScope::RawRequestScope(std::span<std::byte> request, std::span<std::byte> reply_space,
                                 bool setxattr_extended) noexcept
    : outer_(std::exchange(current, {.request = {}, .reply_space = reply_space})),
      request_(AsCreate(setxattr_extended ? Shorten(request) : request)) {
  current.request = request_;
}

RawRequestScope::~RawRequestScope() { current = outer_; }

std::span<std::byte> CurrentReplySpace() noexcept { return current.reply_space; }

bool CurrentRequestKillsPrivileges() noexcept {
  if (current.request.size() < sizeof(fuse_in_header)) return false;
  fuse_in_header header{};
  std::memcpy(&header, current.request.data(), sizeof header);
  switch (header.opcode) {
    case FUSE_WRITE:
      return (FlagsAt(offsetof(fuse_write_in, write_flags)) & wire::kWriteKillSuidGid) != 0;
    case FUSE_OPEN:
      return (FlagsAt(offsetof(fuse_open_in, open_flags)) & wire::kOpenKillSuidGid) != 0;
    default:
      return false;
  }
}

bool CurrentRequestIsTmpfile() noexcept { return current.tmpfile; }

bool CurrentRequestKillsSetgid() noexcept {
  return (current.setxattr_flags & wire::kSetxattrAclKillSgid) != 0;
}

}  // namespace strata::fusefs
