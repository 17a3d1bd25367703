#include "layerstore/index/spool.h"

#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/try.h"

namespace strata::layerstore {
namespace {

// Most layers have less of anything.
constexpr std::size_t kInMemory = std::size_t{512} * 1024;

// durability: none, it is gone with its descriptor.
Result<UniqueFd> NamelessFile(FileOps& files, int directory) {
  constexpr mode_t kPrivate = 0600;
  auto file = files.Open(directory, ".", O_RDWR | O_TMPFILE | O_EXCL, kPrivate);
  if (file) return file;
  const int code = file.error().code();
  // What a kernel or a filesystem says that does not know the flag.
  if (code != EOPNOTSUPP && code != EISDIR && code != EINVAL) return file;
  static std::atomic<std::uint64_t> next = 0;
  const std::string name = "spool-" + std::to_string(next.fetch_add(1, std::memory_order_relaxed));
  STRATA_TRY_ASSIGN(UniqueFd named,
                    files.Open(directory, name.c_str(), O_RDWR | O_CREAT | O_EXCL, kPrivate));
  STRATA_TRY(files.Unlink(directory, name.c_str()));
  return named;
}

Result<> ReadAllAt(FileOps& files, int fd, std::span<std::byte> bytes, std::uint64_t at) {
  while (!bytes.empty()) {
    STRATA_TRY_ASSIGN(const std::size_t read, files.ReadAt(fd, bytes, static_cast<off_t>(at)));
    if (read == 0) return Fail(EIO, "spool", "it is shorter than it was");
    bytes = bytes.subspan(read);
    at += read;
  }
  return {};
}

}  // namespace

Result<> Spool::Append(std::string_view bytes) {
  tail_.append(bytes);
  return tail_.size() < kInMemory ? Result<>() : WriteTail();
}

Result<> Spool::WriteTail() {
  if (!file_) {
    STRATA_TRY_ASSIGN(file_, NamelessFile(files_, directory_));
  }
  STRATA_TRY(WriteAllAt(files_, file_.get(), std::as_bytes(std::span(tail_)),
                        static_cast<off_t>(on_disk_)));
  on_disk_ += tail_.size();
  tail_.clear();
  return {};
}

Result<> Spool::Load(std::uint64_t at, std::span<std::byte> bytes) const {
  if (at < on_disk_) return ReadAllAt(files_, file_.get(), bytes, at);
  std::memcpy(bytes.data(), tail_.data() + (at - on_disk_), bytes.size());
  return {};
}

Result<> Spool::Store(std::uint64_t at, std::span<const std::byte> bytes) {
  if (at < on_disk_) return WriteAllAt(files_, file_.get(), bytes, static_cast<off_t>(at));
  std::memcpy(tail_.data() + (at - on_disk_), bytes.data(), bytes.size());
  return {};
}

Result<> Spool::Read(const std::function<Result<>(std::string_view)>& take) const {
  std::string buffer;
  for (std::uint64_t at = 0; at < on_disk_; at += buffer.size()) {
    buffer.resize(std::min<std::uint64_t>(kInMemory, on_disk_ - at));
    STRATA_TRY(ReadAllAt(files_, file_.get(), std::as_writable_bytes(std::span(buffer)), at));
    STRATA_TRY(take(buffer));
  }
  return tail_.empty() ? Result<>() : take(tail_);
}

}  // namespace strata::layerstore
