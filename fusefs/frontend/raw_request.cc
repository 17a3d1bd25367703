#include "fusefs/frontend/raw_request.h"

#include <cstring>

#include "fusefs/transport/wire.h"

namespace strata::fusefs {
namespace {

thread_local std::span<const std::byte> current_request;

std::uint32_t FlagsAt(std::size_t offset) {
  std::uint32_t flags = 0;
  const std::size_t start = sizeof(fuse_in_header) + offset;
  if (current_request.size() < start + sizeof flags) return 0;
  std::memcpy(&flags, current_request.data() + start, sizeof flags);
  return flags;
}

}  // namespace

RawRequestScope::RawRequestScope(std::span<const std::byte> request) noexcept {
  current_request = request;
}

RawRequestScope::~RawRequestScope() { current_request = {}; }

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

}  // namespace strata::fusefs
