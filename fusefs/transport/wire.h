// The parts of the kernel's FUSE protocol that the installed <linux/fuse.h> or libfuse may be too
// old to name. Values: include/uapi/linux/fuse.h of Linux 6.9.
#pragma once

#include <linux/fuse.h>
#include <sys/ioctl.h>

#include <cstddef>
#include <cstdint>

namespace strata::fusefs::wire {

// INIT flags. Those from bit 32 on travel in `flags2` and count only with kInitExtended.
inline constexpr std::uint64_t kInitWritebackCache = std::uint64_t{1} << 16;
inline constexpr std::uint64_t kInitParallelDirOps = std::uint64_t{1} << 18;
inline constexpr std::uint64_t kInitHandleKillPrivV2 = std::uint64_t{1} << 28;
inline constexpr std::uint64_t kInitSetxattrExtended = std::uint64_t{1} << 29;
inline constexpr std::uint64_t kInitExtended = std::uint64_t{1} << 30;
inline constexpr std::uint64_t kInitPassthrough = std::uint64_t{1} << 37;

// fuse_init_out from protocol 7.36 on: where the fields are that older headers call "unused".
inline constexpr std::size_t kInitOutFlagsOffset = 12;
inline constexpr std::size_t kInitOutFlags2Offset = 32;
inline constexpr std::size_t kInitOutMaxStackDepthOffset = 36;
inline constexpr std::size_t kInitOutSize = 64;

// OPEN replies.
inline constexpr std::uint32_t kOpenKeepCache = 1U << 1;
inline constexpr std::uint32_t kOpenNoFlush = 1U << 5;  // send no FLUSH for it
inline constexpr std::uint32_t kOpenPassthrough = 1U << 7;

// Privilege killing, negotiated by kInitHandleKillPrivV2.
inline constexpr std::uint32_t kWriteKillSuidGid = 1U << 2;  // fuse_write_in::write_flags
inline constexpr std::uint32_t kOpenKillSuidGid = 1U << 0;   // fuse_open_in::open_flags

// SETXATTR with kInitSetxattrExtended: the fields before the name, of which older servers know the
// first two.
struct SetxattrIn {
  std::uint32_t size;
  std::uint32_t flags;
  std::uint32_t extra_flags;
  std::uint32_t padding;
};
inline constexpr std::size_t kShortSetxattrIn = 8;
inline constexpr std::uint32_t kSetxattrAclKillSgid = 1U << 0;  // SetxattrIn::extra_flags

struct OpenOut {
  std::uint64_t handle;
  std::uint32_t flags;
  std::int32_t backing_id;
};
static_assert(sizeof(OpenOut) == sizeof(fuse_open_out));

struct BackingMap {
  std::int32_t fd;
  std::uint32_t flags;
  std::uint64_t padding;
};
inline constexpr unsigned long kBackingOpen = _IOW(229, 1, BackingMap);
inline constexpr unsigned long kBackingClose = _IOW(229, 2, std::uint32_t);

// The smallest and the largest buffer a request is read into: headers and one MiB of data.
inline constexpr std::size_t kMaxWrite = std::size_t{1024} * 1024;
inline constexpr std::size_t kRequestBufferSize = kMaxWrite + 4096;

}  // namespace strata::fusefs::wire
