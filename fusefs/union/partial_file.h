// The content of a half-copied file: an upper file that takes every write, and the lower file that
// still has the blocks nobody has written. DESIGN §5.5.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/file_ops.h"
#include "base/mutex.h"
#include "fusefs/union/block_map.h"
#include "fusefs/union/data_order.h"
#include "fusefs/union/directory.h"
#include "fusefs/union/types.h"

namespace strata::fusefs {

// Thread-safe. Readers of one file run side by side, and with writers of blocks that are copied.
class PartialFile {
 public:
  // `upper` is open for reading and writing, `lower` for reading.
  PartialFile(FileOps& files, SharedFd upper, SharedFd lower, std::unique_ptr<BlockMap> map)
      : files_(files), upper_(std::move(upper)), lower_(std::move(lower)), map_(std::move(map)) {}

  // To be called once, before anything else: takes blocks beyond the end of the file out of the
  // map, which a crash in the middle of a truncation may have left there.
  Result<> Settle();

  // The parts of [offset, offset + length) up to the end of the file, in order; nothing changes
  // during the call.
  Result<> Read(off_t offset, std::size_t length,
                const std::function<Result<>(std::span<const ContentPart>)>& use);
  // As pwrite(2).
  Result<std::size_t> Write(std::span<const std::byte> data, off_t offset);
  // As ftruncate(2); `by_name`: as truncate(2), which on some filesystems touches no times if the
  // size stays. `volatile_upper`: without waiting for the disk.
  Result<> Truncate(off_t size, bool by_name, bool volatile_upper);
  // As fallocate(2): modes 0, KEEP_SIZE, PUNCH_HOLE and ZERO_RANGE; EOPNOTSUPP for others.
  Result<> Allocate(int mode, off_t offset, off_t length);
  // SEEK_DATA and SEEK_HOLE.
  Result<off_t> Seek(off_t offset, int whence);
  // fsync(2) or fdatasync(2): what was written, and where it is.
  Result<> Sync(bool data_only);

  // Copies up to `length` bytes that are still in the lower file, from `from` on. Where to go on;
  // nothing when there are none left. The file's times and capabilities stay.
  Result<std::optional<off_t>> CopySome(off_t from, off_t length);
  // Ends the half-copied state: `unmark` is called once nothing is left to copy, with everybody
  // else kept out.
  Result<> Finish(const std::function<Result<>()>& unmark);
  bool finished() const { return finished_.load(std::memory_order_acquire); }
  std::uint64_t copied_blocks() const;
  int upper() const { return upper_->get(); }

 private:
  // Blocks a byte range touches.
  std::uint64_t FirstBlock(off_t offset) const {
    return static_cast<std::uint64_t>(offset / map_->block_size());
  }
  std::uint64_t EndBlock(off_t end) const {
    return static_cast<std::uint64_t>((end + map_->block_size() - 1) / map_->block_size());
  }
  off_t StartOf(std::uint64_t block) const {
    return static_cast<off_t>(block) * map_->block_size();
  }
  bool AllUpper(off_t offset, off_t end) const STRATA_REQUIRES_SHARED(mu_);
  // The parts of [offset, end), `end` not beyond the end of the file.
  std::vector<ContentPart> Parts(off_t offset, off_t end) const STRATA_REQUIRES_SHARED(mu_);
  // Has a block, of which only a part is about to change, in the upper file.
  Result<> CopyBlock(std::uint64_t block, off_t size) STRATA_REQUIRES(mu_);
  // The same for the blocks at both ends of a range, where it covers them in part.
  Result<> CopyEdges(off_t offset, off_t end, off_t size) STRATA_REQUIRES(mu_);
  // The same for the last block of a file of that size, if it is cut short: before the file grows.
  Result<> CopyLast(off_t size) STRATA_REQUIRES(mu_);
  // What is done at `offset` leaves a hole behind the last block, which is still a lower one.
  bool GrowsLast(off_t offset) const STRATA_REQUIRES_SHARED(mu_);
  Result<bool> IsHole(int fd, off_t offset, off_t end) const;
  // For blocks that are not in the upper file: it has nothing there.
  Result<> ClearUpper(off_t offset, off_t end) STRATA_REQUIRES(mu_);
  Result<std::size_t> WriteLocked(std::span<const std::byte> data, off_t offset)
      STRATA_REQUIRES(mu_);
  // After [offset, end) was written: how much of that counts.
  Result<std::size_t> NowUpper(off_t offset, off_t end) STRATA_REQUIRES(mu_);
  Result<off_t> Size() const;

  FileOps& files_;
  const SharedFd upper_;
  const SharedFd lower_;
  mutable SharedMutex mu_;  // rank 45
  const std::unique_ptr<BlockMap> map_;
  std::atomic<bool> finished_ = false;  // all is in the upper file: the map no longer counts
};

// The half-copied files in use, by upper inode: all users of a file share one object. Thread-safe.
class PartialFiles {
 public:
  using Make = std::function<Result<std::shared_ptr<PartialFile>>()>;
  // The one in use, or what `make` makes. Others wait meanwhile.
  Result<std::shared_ptr<PartialFile>> FindOrMake(std::uint64_t inode, const Make& make);

 private:
  Mutex mu_;  // rank 22
  std::unordered_map<std::uint64_t, std::weak_ptr<PartialFile>> files_ STRATA_GUARDED_BY(mu_);
};

}  // namespace strata::fusefs
