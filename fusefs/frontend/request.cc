#include "fusefs/frontend/request.h"

#include <fuse3/fuse_lowlevel.h>

#include <cassert>
#include <memory>
#include <new>
#include <utility>

#include "base/file_ops.h"
#include "base/logging.h"
#include "fusefs/frontend/conversions.h"
#include "fusefs/frontend/raw_request.h"
#include "fusefs/union/data_copy.h"

namespace strata::fusefs {
namespace {

// Below this a copy is cheaper than a pipe, two splices and the page references.
constexpr std::size_t kSpliceFrom = std::size_t{64} * 1024;

// For a reply of at most kSpliceFrom bytes, or as many as the transport has room for.
std::span<std::byte> ReadBuffer() {
  if (const auto space = CurrentReplySpace(); !space.empty()) return space;
  static thread_local const auto buffer = std::make_unique<std::byte[]>(kSpliceFrom);
  return {buffer.get(), kSpliceFrom};
}

const char* Chars(std::span<const std::byte> bytes) {
  return reinterpret_cast<const char*>(bytes.data());
}

template <class T>
std::span<const std::byte> BytesOf(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

}  // namespace

Request::~Request() {
  if (raw_ == nullptr) return;
  log::Error("request was left unanswered", {{"operation", operation_}});
  FailWith(EIO);
}

fuse_req* Request::Take() noexcept {
  assert(raw_ != nullptr);
  return std::exchange(raw_, nullptr);
}

Caller Request::caller() const noexcept {
  const fuse_ctx* context = fuse_req_ctx(raw_);
  return {.uid = context->uid, .gid = context->gid, .pid = context->pid, .umask = context->umask};
}

void Request::FailWith(int code) noexcept {
  if (fuse_req* raw = Take()) fuse_reply_err(raw, code);
}

void Request::Fail(const Error& error) noexcept {
  const int code = ReplyErrno(error);
  // Whoever asked sees a number; somebody should learn what is to be repaired.
  if (error.code() == EBADMSG) {
    log::Error("damaged data", {{"operation", operation_}, {"error", error.ToString()}});
  }
  if (log::Enabled(log::Level::kTrace)) {
    log::Write(log::Level::kTrace, "request failed",
               {{"operation", operation_}, {"errno", code}, {"error", error.ToString()}});
  }
  FailWith(code);
}

void Request::NotImplemented() noexcept { FailWith(ENOSYS); }

void Request::Done() noexcept { FailWith(0); }

void Request::None() noexcept {
  if (fuse_req* raw = Take()) fuse_reply_none(raw);
}

void Request::Attr(const struct stat& attr, double timeout) noexcept {
  if (fuse_req* raw = Take()) fuse_reply_attr(raw, &attr, timeout);
}

void Request::Link(const std::string& target) noexcept {
  if (fuse_req* raw = Take()) fuse_reply_readlink(raw, target.c_str());
}

void Request::Bytes(std::span<const std::byte> body) noexcept {
  if (fuse_req* raw = Take()) fuse_reply_buf(raw, Chars(body), body.size());
}

void Request::File(int fd, off_t offset, std::size_t length) noexcept {
  if (const auto buffer = ReadBuffer(); length <= buffer.size()) {
    const auto got = FileOps::System().ReadAt(fd, buffer.first(length), offset);
    if (!got) return Fail(got.error());
    return Bytes(buffer.first(*got));
  }
  fuse_req* raw = Take();
  if (raw == nullptr) return;
  fuse_bufvec source = FUSE_BUFVEC_INIT(length);
  source.buf[0].flags =
      static_cast<fuse_buf_flags>(FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK | FUSE_BUF_FD_RETRY);
  source.buf[0].fd = fd;
  source.buf[0].pos = offset;
  fuse_reply_data(raw, &source, FUSE_BUF_SPLICE_MOVE);
}

void Request::Content(std::span<const ContentPart> parts) noexcept {
  if (parts.size() == 1 && parts[0].fd >= 0) {
    return File(parts[0].fd, parts[0].offset, parts[0].length);
  }
  std::size_t length = 0;
  for (const ContentPart& part : parts) length += part.length;
  std::span<std::byte> buffer = ReadBuffer();
  std::unique_ptr<std::byte[]> larger;
  if (length > buffer.size()) {
    larger.reset(new (std::nothrow) std::byte[length]);
    if (!larger) return FailWith(ENOMEM);
    buffer = {larger.get(), length};
  }
  const auto got = GatherParts(FileOps::System(), parts, buffer);
  if (!got) return Fail(got.error());
  Bytes(buffer.first(*got));
}

void Request::Written(std::size_t count) noexcept {
  if (fuse_req* raw = Take()) fuse_reply_write(raw, count);
}

void Request::Statfs(const struct statvfs& info) noexcept {
  if (fuse_req* raw = Take()) fuse_reply_statfs(raw, &info);
}

void Request::XattrSize(std::size_t size) noexcept {
  if (fuse_req* raw = Take()) fuse_reply_xattr(raw, size);
}

void Request::Offset(off_t offset) noexcept {
  if (fuse_req* raw = Take()) fuse_reply_lseek(raw, offset);
}

void Request::IoControl(std::span<const std::byte> out) noexcept {
  if (fuse_req* raw = Take()) fuse_reply_ioctl(raw, 0, out.data(), out.size());
}

void Request::Lock(const struct flock& lock) noexcept {
  if (fuse_req* raw = Take()) fuse_reply_lock(raw, &lock);
}

void Request::Negative() noexcept {
  fuse_entry_param absent{};
  absent.entry_timeout = kForever;
  if (fuse_req* raw = Take()) fuse_reply_entry(raw, &absent);
}

void Request::OpenDirectory() noexcept {
  fuse_file_info info{};
  info.keep_cache = 1;
  info.cache_readdir = 1;
  if (fuse_req* raw = Take()) fuse_reply_open(raw, &info);
}

bool Request::Entry(const EntryReply& entry) noexcept {
  fuse_req* raw = Take();
  if (raw == nullptr) return false;
  const fuse_entry_param param = EntryParam(entry);
  return fuse_reply_entry(raw, &param) == 0;
}

bool Request::Open(const OpenReply& open, bool flushed) noexcept {
  fuse_req* raw = Take();
  if (raw == nullptr) return false;
  const wire::OpenOut body = OpenBody(open, flushed);
  return fuse_reply_buf(raw, Chars(BytesOf(body)), sizeof body) == 0;
}

bool Request::Create(const EntryReply& entry, const OpenReply& open, bool flushed) noexcept {
  fuse_req* raw = Take();
  if (raw == nullptr) return false;
  const CreateBody body = CreateBodyOf(entry, open, flushed);
  return fuse_reply_buf(raw, Chars(BytesOf(body)), sizeof body) == 0;
}

bool Request::Listing(std::span<const std::byte> entries) noexcept {
  fuse_req* raw = Take();
  return raw != nullptr && fuse_reply_buf(raw, Chars(entries), entries.size()) == 0;
}

}  // namespace strata::fusefs
