// The operations on open files.
#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "base/try.h"
#include "fusefs/frontend/operations.h"
#include "fusefs/frontend/raw_request.h"

namespace strata::fusefs {
namespace {

// struct fsxattr has 28 bytes.
constexpr std::size_t kLargestIoControl = 64;

}  // namespace

Result<> Operations::KillPrivileges(NodeId node, const Caller& who) {
  AttrChange change;
  change.kill_suid_sgid = true;
  bool stable = false;  // no matter: nothing is told to the kernel
  const auto changed = engine_.SetAttr(node, change, who, &stable);
  if (!changed) return Fail(changed.error().code(), "kill privileges");
  return {};
}

Result<> Operations::Open(Request& request, fuse_ino_t ino, fuse_file_info* file) {
  if (skip_open_) {
    request.NotImplemented();
    return {};
  }
  const NodeId node{ino};
  STRATA_TRY_ASSIGN(const OpenReply open, engine_.OpenFile(node, file->flags, request.caller()));
  if (CurrentRequestKillsPrivileges()) {
    auto killed = KillPrivileges(node, request.caller());
    if (!killed) {
      engine_.Release(node, open.handle);
      return killed;
    }
  }
  const bool flushed = WantsFlush(node, file->flags);
  OpenReply reply = open;
  reply.handle = NewHandle(open.handle, flushed);
  if (!request.Open(reply, flushed)) engine_.Release(node, open.handle);
  return {};
}

Result<> Operations::Create(Request& request, fuse_ino_t parent, const char* name, mode_t mode,
                            fuse_file_info* file) {
  STRATA_TRY_ASSIGN(
      const Engine::Created created,
      CurrentRequestIsTmpfile()
          ? engine_.CreateUnnamed(NodeId{parent}, mode, file->flags, request.caller())
          : engine_.Create(NodeId{parent}, name, mode, file->flags, request.caller()));
  const bool flushed = WantsFlush(created.entry.node, file->flags);
  OpenReply reply = created.open;
  reply.handle = NewHandle(created.open.handle, flushed);
  if (!request.Create(created.entry, reply, flushed)) {
    engine_.Release(created.entry.node, created.open.handle);
    engine_.Forget(created.entry.node, 1);
  }
  return {};
}

Result<> Operations::Read(Request& request, fuse_ino_t ino, std::size_t size, off_t offset,
                          fuse_file_info* file) {
  return engine_.ReadFile(NodeId{ino}, file->fh, offset, size,
                          [&request](std::span<const ContentPart> parts) -> Result<> {
                            request.Content(parts);
                            return {};
                          });
}

Result<> Operations::Write(Request& request, fuse_ino_t ino, const char* data, std::size_t size,
                           off_t offset, fuse_file_info* file) {
  const Caller who = request.caller();
  const WriteRules rules{.kills_for = CurrentRequestKillsPrivileges() ? &who : nullptr,
                         .from_mapping = file->writepage != 0};
  STRATA_TRY_ASSIGN(const std::size_t done,
                    engine_.WriteFile(NodeId{ino}, file->fh, std::as_bytes(std::span(data, size)),
                                      offset, rules));
  request.Written(done);
  return {};
}

Result<> Operations::Sync(Request& request, fuse_ino_t ino, int data_only, fuse_file_info* file) {
  STRATA_TRY(engine_.Sync(NodeId{ino}, file->fh, data_only != 0));
  request.Done();
  return {};
}

Result<> Operations::Allocate(Request& request, fuse_ino_t ino, int mode, off_t offset,
                              off_t length, fuse_file_info* file) {
  // With FUSE_HANDLE_KILLPRIV_V2 the kernel says for WRITE, but not for this and copy_file_range,
  // whether setuid and setgid have to go.
  const Caller who = request.caller().ToBeAsked();
  STRATA_TRY(engine_.Allocate(NodeId{ino}, file->fh, mode, offset, length, &who));
  request.Done();
  return {};
}

Result<> Operations::CopyRange(Request& request, fuse_ino_t in, off_t in_offset,
                               fuse_file_info* in_file, fuse_ino_t out, off_t out_offset,
                               fuse_file_info* out_file, std::size_t length, int flags) {
  if (flags != 0) return Fail(EINVAL, "copy_file_range");
  const Caller who = request.caller().ToBeAsked();
  STRATA_TRY_ASSIGN(const std::size_t copied,
                    engine_.CopyRange(NodeId{in}, in_file->fh, in_offset, NodeId{out}, out_file->fh,
                                      out_offset, length, &who));
  request.Written(copied);
  return {};
}

Result<> Operations::Seek(Request& request, fuse_ino_t ino, off_t offset, int whence,
                          fuse_file_info* file) {
  if (skip_seek_) {
    request.NotImplemented();
    return {};
  }
  STRATA_TRY_ASSIGN(const off_t found, engine_.Seek(NodeId{ino}, file->fh, offset, whence));
  request.Offset(found);
  return {};
}

// The kernel sends the calls about inode flags here, with their arguments copied in and out.
Result<> Operations::IoControl(Request& request, fuse_ino_t ino, unsigned command,
                               void* /*argument*/, fuse_file_info* /*file*/, unsigned flags,
                               const void* in, std::size_t in_size, std::size_t out_size) {
  std::array<std::byte, kLargestIoControl> argument{};
  if ((flags & FUSE_IOCTL_UNRESTRICTED) != 0 || std::max(in_size, out_size) > argument.size()) {
    return Fail(ENOTTY, "ioctl");
  }
  if (in_size != 0) std::memcpy(argument.data(), in, in_size);
  const std::span used(argument.data(), std::max(in_size, out_size));
  STRATA_TRY(engine_.InodeFlags(NodeId{ino}, command, used));
  request.IoControl(used.first(out_size));
  return {};
}

}  // namespace strata::fusefs
