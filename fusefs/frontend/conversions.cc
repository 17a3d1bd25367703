#include "fusefs/frontend/conversions.h"

#include <sys/sysmacros.h>

namespace strata::fusefs {
namespace {

// linux/include/linux/err.h: an errno beyond this is not one; libfuse draws its line at 1000.
constexpr int kErrnoEnd = 1000;

fuse_attr AttrOf(const struct stat& stat) {
  fuse_attr attr{};
  attr.ino = stat.st_ino;
  attr.size = static_cast<std::uint64_t>(stat.st_size);
  attr.blocks = static_cast<std::uint64_t>(stat.st_blocks);
  attr.atime = static_cast<std::uint64_t>(stat.st_atim.tv_sec);
  attr.mtime = static_cast<std::uint64_t>(stat.st_mtim.tv_sec);
  attr.ctime = static_cast<std::uint64_t>(stat.st_ctim.tv_sec);
  attr.atimensec = static_cast<std::uint32_t>(stat.st_atim.tv_nsec);
  attr.mtimensec = static_cast<std::uint32_t>(stat.st_mtim.tv_nsec);
  attr.ctimensec = static_cast<std::uint32_t>(stat.st_ctim.tv_nsec);
  attr.mode = stat.st_mode;
  attr.nlink = static_cast<std::uint32_t>(stat.st_nlink);
  attr.uid = stat.st_uid;
  attr.gid = stat.st_gid;
  attr.rdev = static_cast<std::uint32_t>(stat.st_rdev);
  attr.blksize = static_cast<std::uint32_t>(stat.st_blksize);
  return attr;
}

}  // namespace

int ReplyErrno(const Error& error) noexcept {
  if (error.code() <= 0 || error.code() >= kErrnoEnd) return EIO;
  return error.code() == ENOSYS ? EOPNOTSUPP : error.code();
}

AttrChange AttrChangeOf(const struct stat& attr, int valid) {
  AttrChange change;
  if ((valid & FUSE_SET_ATTR_MODE) != 0) change.mode = attr.st_mode & ALLPERMS;
  if ((valid & FUSE_SET_ATTR_UID) != 0) change.uid = attr.st_uid;
  if ((valid & FUSE_SET_ATTR_GID) != 0) change.gid = attr.st_gid;
  if ((valid & FUSE_SET_ATTR_SIZE) != 0) change.size = attr.st_size;
  constexpr struct timespec kNow{.tv_sec = 0, .tv_nsec = UTIME_NOW};
  if ((valid & FUSE_SET_ATTR_ATIME_NOW) != 0) {
    change.atime = kNow;
  } else if ((valid & FUSE_SET_ATTR_ATIME) != 0) {
    change.atime = attr.st_atim;
  }
  if ((valid & FUSE_SET_ATTR_MTIME_NOW) != 0) {
    change.mtime = kNow;
  } else if ((valid & FUSE_SET_ATTR_MTIME) != 0) {
    change.mtime = attr.st_mtim;
  }
  // FATTR_KILL_SUIDGID, which libfuse knows by the name of its own flag of the same value.
  constexpr int kKernelsFlag = FATTR_KILL_SUIDGID;
  static_assert(FUSE_SET_ATTR_KILL_SUID == kKernelsFlag);
  change.kill_suid_sgid = (valid & FUSE_SET_ATTR_KILL_SUID) != 0;
  return change;
}

fuse_entry_param EntryParam(const EntryReply& entry) {
  fuse_entry_param param{};
  param.ino = entry.node.value;
  param.generation = entry.generation;
  param.attr = entry.attr;
  param.attr_timeout = kForever;
  param.entry_timeout = kForever;
  return param;
}

wire::OpenOut OpenBody(const OpenReply& open, bool flushed) {
  wire::OpenOut out{.handle = open.handle, .flags = 0, .backing_id = 0};
  if (open.mode == IoMode::kPassthrough) {
    out.flags = wire::kOpenPassthrough;
    out.backing_id = open.backing_id;
  } else if (open.keep_cache) {
    out.flags = wire::kOpenKeepCache;
  }
  if (!flushed) out.flags |= wire::kOpenNoFlush;
  return out;
}

CreateBody CreateBodyOf(const EntryReply& entry, const OpenReply& open, bool flushed) {
  CreateBody body{};
  static_assert(sizeof body == sizeof body.entry + sizeof body.open);
  body.entry.nodeid = entry.node.value;
  body.entry.generation = entry.generation;
  body.entry.entry_valid = static_cast<std::uint64_t>(kForever);
  body.entry.attr_valid = static_cast<std::uint64_t>(kForever);
  body.entry.attr = AttrOf(entry.attr);
  body.open = OpenBody(open, flushed);
  return body;
}

}  // namespace strata::fusefs
