#include "fusefs/union/data_copy.h"

#include <algorithm>
#include <span>

#include "base/copy_bytes.h"
#include "base/try.h"

namespace strata::fusefs {
namespace {

constexpr std::size_t kSmallCopy =
    std::size_t{128} * 1024;  // below, one read and one write are fastest
constexpr std::size_t kCopyChunk = std::size_t{64} << 20U;  // bytes handed to the kernel at a time

// Where copy_file_range(2) cannot help: other filesystems, special ones.
bool NeedsPlainCopy(int code) {
  return code == EXDEV || code == EINVAL || code == EOPNOTSUPP || code == ENOSYS || code == EBADF;
}

// The rest of a file that is shorter than its stat said stays a hole.
Result<> PlainCopy(FileOps& files, int from, int to, off_t offset, off_t end) {
  STRATA_TRY(CopyBytes(files, from, to, offset, end));
  return {};
}

}  // namespace

Result<> CopyExtent(FileOps& files, int from, int to, off_t offset, off_t end) {
  if (static_cast<std::size_t>(end - offset) <= kSmallCopy) {
    return PlainCopy(files, from, to, offset, end);
  }
  while (offset < end) {
    const std::size_t want = std::min(kCopyChunk, static_cast<std::size_t>(end - offset));
    auto done = files.CopyRange(from, offset, to, offset, want);
    if (!done) {
      if (NeedsPlainCopy(done.error().code())) return PlainCopy(files, from, to, offset, end);
      return std::unexpected(std::move(done).error());
    }
    if (*done == 0) return {};
    offset += static_cast<off_t>(*done);
  }
  return {};
}

Result<> CopySparseExtent(FileOps& files, int from, int to, off_t offset, off_t end) {
  while (offset < end) {
    auto data = files.Seek(from, offset, SEEK_DATA);
    if (!data) {
      if (data.error().code() == ENXIO) return {};  // a hole up to the end
      return std::unexpected(std::move(data).error());
    }
    if (*data >= end) return {};
    STRATA_TRY_ASSIGN(const off_t hole, files.Seek(from, *data, SEEK_HOLE));
    offset = std::min(hole, end);
    STRATA_TRY(CopyExtent(files, from, to, *data, offset));
  }
  return {};
}

Result<> CopyContent(FileOps& files, int from, const struct stat& from_stat, int to, off_t size) {
  if (from_stat.st_blocks * kStatBlock >= from_stat.st_size) {
    return CopyExtent(files, from, to, 0, size);
  }
  STRATA_TRY(CopySparseExtent(files, from, to, 0, size));
  return files.Truncate(to, size);
}

Result<std::size_t> GatherParts(FileOps& files, std::span<const ContentPart> parts,
                                std::span<std::byte> buffer) {
  std::size_t done = 0;
  for (const ContentPart& part : parts) {
    auto into = buffer.subspan(done, std::min(part.length, buffer.size() - done));
    if (part.fd < 0) {
      std::ranges::fill(into, std::byte{0});
      done += into.size();
      continue;
    }
    off_t at = part.offset;
    while (!into.empty()) {
      STRATA_TRY_ASSIGN(const std::size_t got, files.ReadAt(part.fd, into, at));
      if (got == 0) return done;
      into = into.subspan(got);
      at += static_cast<off_t>(got);
      done += got;
    }
  }
  return done;
}

KeepTimes::KeepTimes(FileOps& files, int fd) : files_(files), fd_(fd) {
  if (auto st = files_.Stat(fd_)) st_ = *st;
}

KeepTimes::~KeepTimes() {
  if (!st_) return;
  const struct timespec times[2] = {st_->st_atim, st_->st_mtim};
  Ignore(files_.Utimes(fd_, times), "times that should have stayed");
}

UnnoticedWriting::UnnoticedWriting(FileOps& files, int fd)
    : files_(files), fd_(fd), times_(files, fd) {
  if (auto value = files_.GetXattr(fd_, kCapability)) capability_ = std::move(*value);
}

UnnoticedWriting::~UnnoticedWriting() {
  if (!capability_) return;
  Ignore(files_.SetXattr(fd_, kCapability, *capability_), "capabilities of a file that was copied");
}

}  // namespace strata::fusefs
