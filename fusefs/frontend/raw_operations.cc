#include "fusefs/frontend/raw_operations.h"

#include <fuse3/fuse_lowlevel.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cstring>
#include <exception>

#include "base/logging.h"
#include "base/try.h"
#include "fusefs/frontend/conversions.h"
#include "fusefs/transport/wire.h"

namespace strata::fusefs {
namespace {

wire::StatxTime TimeOf(const struct timespec& time) {
  return {.seconds = time.tv_sec,
          .nanoseconds = static_cast<std::uint32_t>(time.tv_nsec),
          .reserved = 0};
}

Result<wire::StatxOut> Statx(Engine& engine, NodeId node) {
  bool stable = true;
  STRATA_TRY_ASSIGN(const struct stat st, engine.GetAttr(node, &stable));
  wire::StatxOut out{};
  out.valid = stable ? static_cast<std::uint64_t>(kForever) : 0;
  out.mask = STATX_BASIC_STATS;
  out.block_size = static_cast<std::uint32_t>(st.st_blksize);
  out.links = static_cast<std::uint32_t>(st.st_nlink);
  out.uid = st.st_uid;
  out.gid = st.st_gid;
  out.mode = static_cast<std::uint16_t>(st.st_mode);
  out.ino = st.st_ino;
  out.size = static_cast<std::uint64_t>(st.st_size);
  out.blocks = static_cast<std::uint64_t>(st.st_blocks);
  out.atime = TimeOf(st.st_atim);
  out.ctime = TimeOf(st.st_ctim);
  out.mtime = TimeOf(st.st_mtim);
  out.rdev_major = major(st.st_rdev);
  out.rdev_minor = minor(st.st_rdev);
  // Without a birth time the rest is still good.
  if (const auto birth = engine.BirthTime(node)) {
    out.btime = TimeOf(*birth);
    out.mask |= STATX_BTIME;
  }
  return out;
}

// Sends the reply; a kernel that is no longer interested (ENOENT) needs nothing.
void Answer(Transport& transport, std::uint64_t unique, const Result<wire::StatxOut>& result) {
  fuse_out_header header{};
  header.unique = unique;
  header.error = result ? 0 : -ReplyErrno(result.error());
  header.len = sizeof header + (result ? sizeof *result : 0);
  wire::StatxOut body = result ? *result : wire::StatxOut{};
  const iovec message[] = {{&header, sizeof header}, {&body, sizeof body}};
  const std::size_t parts = result ? 2 : 1;
  if (transport.Send(std::span(message).first(parts)) < 0 && errno != ENOENT) {
    Ignore(FailErrno("reply"), "the connection is over");
  }
}

Result<wire::StatxOut> StatxOrWhy(Engine& engine, NodeId node) noexcept {
  try {
    return Statx(engine, node);
  } catch (const std::exception& exception) {
    log::Error("operation threw", {{"operation", "statx"}, {"what", exception.what()}});
    return Fail(EIO, "statx");
  }
}

}  // namespace

bool ServeRaw(Engine& engine, Transport& transport, std::span<const std::byte> request) noexcept {
  fuse_in_header header{};
  if (request.size() < sizeof header) return false;
  std::memcpy(&header, request.data(), sizeof header);
  if (header.opcode != wire::kStatx) return false;
  Answer(transport, header.unique, StatxOrWhy(engine, NodeId{header.nodeid}));
  return true;
}

}  // namespace strata::fusefs
