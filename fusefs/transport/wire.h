// The parts of the kernel's FUSE protocol that the installed <linux/fuse.h> or libfuse may be too
// old to name. Values: include/uapi/linux/fuse.h of Linux 6.14.
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
inline constexpr std::uint64_t kInitOverUring = std::uint64_t{1} << 41;

// fuse_init_out from protocol 7.36 on: where the fields are that older headers call "unused".
inline constexpr std::size_t kInitOutFlagsOffset = 12;
inline constexpr std::size_t kInitOutFlags2Offset = 32;
inline constexpr std::size_t kInitOutMaxStackDepthOffset = 36;
inline constexpr std::size_t kInitOutSize = 64;

// OPEN replies.
inline constexpr std::uint32_t kOpenKeepCache = 1U << 1;
inline constexpr std::uint32_t kOpenNoFlush = 1U << 5;  // send no FLUSH for it
inline constexpr std::uint32_t kOpenPassthrough = 1U << 7;

// TMPFILE (Linux 6.2): body and reply are those of CREATE; the name means nothing.
inline constexpr std::uint32_t kTmpfile = 51;

// STATX (Linux 6.6).
inline constexpr std::uint32_t kStatx = 52;
struct StatxTime {
  std::int64_t seconds;
  std::uint32_t nanoseconds;
  std::int32_t reserved;
};
struct StatxIn {
  std::uint32_t getattr_flags;
  std::uint32_t reserved;
  std::uint64_t handle;
  std::uint32_t sync_flags;
  std::uint32_t mask;
};
struct StatxOut {
  std::uint64_t valid;  // seconds the kernel may keep it
  std::uint32_t valid_nanoseconds;
  std::uint32_t flags;
  std::uint64_t spare[2];
  std::uint32_t mask;
  std::uint32_t block_size;
  std::uint64_t attributes;
  std::uint32_t links;
  std::uint32_t uid;
  std::uint32_t gid;
  std::uint16_t mode;
  std::uint16_t spare_mode;
  std::uint64_t ino;
  std::uint64_t size;
  std::uint64_t blocks;
  std::uint64_t attributes_mask;
  StatxTime atime;
  StatxTime btime;
  StatxTime ctime;
  StatxTime mtime;
  std::uint32_t rdev_major;
  std::uint32_t rdev_minor;
  std::uint32_t dev_major;
  std::uint32_t dev_minor;
  std::uint64_t spare_end[14];
};
static_assert(sizeof(StatxOut) == 288);

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

// INTERRUPT requests bear the number of the request they are about with this bit set.
inline constexpr std::uint64_t kInterruptBit = 1;

// FUSE over io_uring. A queue entry is two pieces of the server's memory: this header, and room for
// the rest of the request, or of the reply. A request's fuse_in_header lies in `in_out`, its first
// fixed part in `op_in`, all that follows in the payload; a reply's fuse_out_header lies in
// `in_out`, its whole body in the payload.
struct UringEntryHeader {
  std::byte in_out[128];
  std::byte op_in[128];
  std::uint64_t flags;
  std::uint64_t commit_id;     // names the request when it is answered
  std::uint32_t payload_size;  // of either
  std::uint32_t padding;
  std::uint64_t reserved;
};
static_assert(sizeof(UringEntryHeader) == 288);
// sqe->cmd_op, and what lies in sqe->cmd.
inline constexpr std::uint32_t kUringRegister = 1;
inline constexpr std::uint32_t kUringCommitAndFetch = 2;
struct UringCommand {
  std::uint64_t flags;
  std::uint64_t commit_id;
  std::uint16_t queue;
  std::uint8_t padding[6];
};
static_assert(sizeof(UringCommand) == 24);

// The smallest and the largest buffer a request is read into: headers and one MiB of data.
inline constexpr std::size_t kMaxWrite = std::size_t{1024} * 1024;
inline constexpr std::size_t kRequestBufferSize = kMaxWrite + 4096;

}  // namespace strata::fusefs::wire
