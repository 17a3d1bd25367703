#include "fusefs/frontend/raw_request.h"

#include <cstring>

#include "fusefs/transport/wire.h"

namespace strata::fusefs {
namespace {

thread_local std::span<const std::byte> current_request;
thread_local std::uint32_t setxattr_extra_flags = 0;

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
  setxattr_extra_flags = body.extra_flags;
  header.len -= static_cast<std::uint32_t>(kNameAt - kShortNameAt);
  std::memcpy(request.data(), &header, sizeof header);
  std::memmove(request.data() + kShortNameAt, request.data() + kNameAt, request.size() - kNameAt);
  return request.first(request.size() - (kNameAt - kShortNameAt));
}

std::uint32_t FlagsAt(std::size_t offset) {
  std::uint32_t flags = 0;
  const std::size_t start = sizeof(fuse_in_header) + offset;
  if (current_request.size() < start + sizeof flags) return 0;
  std::memcpy(&flags, current_request.data() + start, sizeof flags);
  return flags;
}

}  // namespace

RawRequestScope::RawRequestScope(std::span<std::byte> request, bool setxattr_extended) noexcept
    : request_(setxattr_extended ? Shorten(request) : request) {
  current_request = request_;
}

RawRequestScope::~RawRequestScope() {
  current_request = {};
  setxattr_extra_flags = 0;
}

bool CurrentRequestKillsPrivileges() noexcept {
  if (current_request.size() < sizeof(fuse_in_header)) return false;
  fuse_in_header header{};
  std::memcpy(&header, current_request.data(), sizeof header);
  switch (header.opcode) {
    case FUSE_WRITE:
      return (FlagsAt(offsetof(fuse_write_in, write_flags)) & wire::kWriteKillSuidGid) != 0;
    case FUSE_OPEN:
      return (FlagsAt(offsetof(fuse_open_in, open_flags)) & wire::kOpenKillSuidGid) != 0;
    default:
      return false;
  }
}

bool CurrentRequestKillsSetgid() noexcept {
  return (setxattr_extra_flags & wire::kSetxattrAclKillSgid) != 0;
}

}  // namespace strata::fusefs
