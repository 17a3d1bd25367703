// Between the engine's types and the kernel's.
#pragma once

#include <fuse3/fuse_lowlevel.h>
#include <sys/stat.h>

#include "base/error.h"
#include "fusefs/transport/wire.h"
#include "fusefs/union/types.h"

namespace strata::fusefs {

// Seconds the kernel may keep what we told it: "for ever", as a number that survives libfuse's
// conversion and the kernel's to jiffies (30 years).
inline constexpr double kForever = 1e9;

// The errno a failed operation is answered with: the error's own if the kernel takes it for one.
// ENOSYS becomes EOPNOTSUPP, because the kernel takes ENOSYS for "never ask me again"; what is no
// errno becomes EIO.
int ReplyErrno(const Error& error) noexcept;

// What a SETATTR request asks for. `valid` is libfuse's FUSE_SET_ATTR_* mask.
AttrChange AttrChangeOf(const struct stat& attr, int valid);

fuse_entry_param EntryParam(const EntryReply& entry);

// The bodies of OPEN and CREATE replies, which libfuse 3.14 cannot make with a backing file.
// `flushed`: the kernel shall report each close(2).
wire::OpenOut OpenBody(const OpenReply& open, bool flushed);
struct CreateBody {
  fuse_entry_out entry;
  wire::OpenOut open;
};
CreateBody CreateBodyOf(const EntryReply& entry, const OpenReply& open, bool flushed);

}  // namespace strata::fusefs
