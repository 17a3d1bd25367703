#include "fusefs/union/partial_file.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>

#include <algorithm>
#include <optional>

#include "base/try.h"
#include "fusefs/union/data_copy.h"

namespace strata::fusefs {

Result<off_t> PartialFile::Size() const {
  STRATA_TRY_ASSIGN(const struct stat st, files_.Stat(upper()));
  return st.st_size;
}

std::uint64_t PartialFile::copied_blocks() const {
  ReadLock lock(mu_);
  return map_->copied();
}

bool PartialFile::AllUpper(off_t offset, off_t end) const {
  if (finished() || offset >= end) return true;
  const std::uint64_t first = FirstBlock(offset);
  return map_->At(first) == BlockMap::Place::kUpper &&
         map_->RunEnd(first, EndBlock(end)) >= EndBlock(end);
}

Result<> PartialFile::Settle() {
  WriteLock lock(mu_);
  STRATA_TRY_ASSIGN(const off_t size, Size());
  const std::uint64_t beyond = EndBlock(size);
  if (beyond < map_->blocks() && (map_->At(beyond) != BlockMap::Place::kZeros ||
                                  map_->RunEnd(beyond, map_->blocks()) != map_->blocks())) {
    STRATA_TRY(map_->MarkZeros(beyond, map_->blocks()));
  }
  return static_cast<std::uint64_t>(size) < map_->source().size ? CopyLast(size) : Result<>();
}

std::vector<ContentPart> PartialFile::Parts(off_t offset, off_t end) const {
  std::vector<ContentPart> parts;
  const auto add = [&](int fd, off_t to) {
    if (to <= offset) return;
    parts.push_back({fd, offset, static_cast<std::size_t>(to - offset)});
    offset = to;
  };
  if (finished()) add(upper(), end);
  while (offset < end) {
    const std::uint64_t block = FirstBlock(offset);
    const off_t run_end = std::min(end, StartOf(map_->RunEnd(block, EndBlock(end))));
    switch (map_->At(block)) {
      case BlockMap::Place::kUpper:
        add(upper(), run_end);
        break;
      case BlockMap::Place::kLower:
        add(lower_->get(), std::min(run_end, static_cast<off_t>(map_->source().size)));
        [[fallthrough]];
      case BlockMap::Place::kZeros:
        add(-1, run_end);
        break;
    }
  }
  return parts;
}

Result<> PartialFile::Read(off_t offset, std::size_t length,
                           const std::function<Result<>(std::span<const ContentPart>)>& use) {
  ReadLock lock(mu_);
  STRATA_TRY_ASSIGN(const off_t size, Size());
  const off_t left = std::max<off_t>(0, size - offset);
  const off_t end = offset + std::min(left, static_cast<off_t>(length));
  return use(Parts(offset, end));
}

Result<bool> PartialFile::IsHole(int fd, off_t offset, off_t end) const {
  auto data = files_.Seek(fd, offset, SEEK_DATA);
  if (data) return *data >= end;
  if (data.error().code() == ENXIO) return true;
  return std::unexpected(std::move(data).error());
}

// A write that failed, or was cut off, may have left something where the block still is a lower
// one, or one of zeros.
Result<> PartialFile::ClearUpper(off_t offset, off_t end) {
  STRATA_TRY_ASSIGN(const bool clear, IsHole(upper(), offset, end));
  if (clear) return {};
  return files_.Allocate(upper(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, end - offset);
}

Result<> PartialFile::CopyBlock(std::uint64_t block, off_t size) {
  const BlockMap::Place place = map_->At(block);
  if (place == BlockMap::Place::kUpper) return {};
  const off_t start = StartOf(block);
  const off_t end = std::min(start + map_->block_size(), size);
  if (start < end) {
    bool zeros = place == BlockMap::Place::kZeros;
    if (!zeros) {
      STRATA_TRY_ASSIGN(zeros, IsHole(lower_->get(), start, end));
    }
    if (zeros) {
      STRATA_TRY(ClearUpper(start, end));
    } else {
      std::vector<std::byte> content(static_cast<std::size_t>(end - start));
      STRATA_TRY(GatherParts(files_, Parts(start, end), content));
      STRATA_TRY(WriteAllAt(files_, upper(), content, start));
    }
  }
  return map_->MarkUpper(block, block + 1);
}

Result<> PartialFile::CopyEdges(off_t offset, off_t end, off_t size) {
  const off_t block_size = map_->block_size();
  if (offset % block_size != 0) STRATA_TRY(CopyBlock(FirstBlock(offset), size));
  if (end % block_size != 0 && end < size) STRATA_TRY(CopyBlock(FirstBlock(end), size));
  return {};
}

Result<> PartialFile::CopyLast(off_t size) {
  const bool cut = size % map_->block_size() != 0 && FirstBlock(size) < map_->blocks();
  return cut ? CopyBlock(FirstBlock(size), size) : Result<>();
}

bool PartialFile::GrowsLast(off_t offset) const {
  return offset > static_cast<off_t>(map_->source().size) && map_->blocks() > 0 &&
         map_->At(map_->blocks() - 1) == BlockMap::Place::kLower;
}

Result<std::size_t> PartialFile::Write(std::span<const std::byte> data, off_t offset) {
  const off_t end = offset + static_cast<off_t>(data.size());
  {
    ReadLock lock(mu_);
    if (AllUpper(offset, end) && (finished() || !GrowsLast(offset)))
      return files_.WriteAt(upper(), data, offset);
  }
  WriteLock lock(mu_);
  if (finished()) return files_.WriteAt(upper(), data, offset);
  return WriteLocked(data, offset);
}

Result<std::size_t> PartialFile::WriteLocked(std::span<const std::byte> data, off_t offset) {
  const off_t end = offset + static_cast<off_t>(data.size());
  STRATA_TRY_ASSIGN(const off_t size, Size());
  STRATA_TRY(CopyEdges(offset, end, size));
  if (offset > size) STRATA_TRY(CopyLast(size));
  std::size_t done = 0;
  off_t reached = offset;
  // A lower block that was to be replaced stays one until all of it is written. Where that is all
  // that was reached, the next try tells what the write was cut short by.
  while (reached == offset) {
    STRATA_TRY_ASSIGN(const std::size_t wrote, files_.WriteAt(upper(), data.subspan(done),
                                                              offset + static_cast<off_t>(done)));
    done += wrote;
    if (done == data.size()) return NowUpper(offset, end);
    if (wrote == 0) return Fail(EIO, "write");
    reached = offset + static_cast<off_t>(done);
    if (map_->At(FirstBlock(reached)) == BlockMap::Place::kLower) {
      reached = std::max(offset, StartOf(FirstBlock(reached)));
    }
  }
  return NowUpper(offset, reached);
}

Result<std::size_t> PartialFile::NowUpper(off_t offset, off_t end) {
  const std::uint64_t first = FirstBlock(offset);
  auto marked = map_->MarkUpper(first, EndBlock(end));
  if (!marked) {
    // The data of blocks that were upper ones before has changed nevertheless.
    if (map_->At(first) != BlockMap::Place::kUpper) {
      return std::unexpected(std::move(marked).error());
    }
    end = std::min(end, StartOf(map_->RunEnd(first, EndBlock(end))));
  }
  return static_cast<std::size_t>(end - offset);
}

Result<> PartialFile::Truncate(off_t size, bool by_name, bool volatile_upper) {
  WriteLock lock(mu_);
  STRATA_TRY_ASSIGN(const off_t old_size, Size());
  if (by_name && size == old_size) {
    return files_.TruncatePath(ProcFdPath(upper()).c_str(), size);
  }
  const bool shrinks =
      !finished() && size < old_size && static_cast<std::uint64_t>(size) < map_->source().size;
  if (!finished() && size > old_size) STRATA_TRY(CopyLast(old_size));
  if (!shrinks) return files_.Truncate(upper(), size);
  if (size % map_->block_size() != 0) STRATA_TRY(CopyBlock(FirstBlock(size), old_size));
  STRATA_TRY(files_.Truncate(upper(), size));
  // The size reaches the disk before the map says that nothing is beyond it, and the map before the
  // file can grow again.
  if (!volatile_upper) STRATA_TRY(files_.SyncData(upper()));
  STRATA_TRY(map_->MarkZeros(EndBlock(size), map_->blocks()));
  return volatile_upper ? Result<>() : map_->Sync();
}

Result<> PartialFile::Allocate(int mode, off_t offset, off_t length) {
  constexpr int kKnown = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
  const bool clears = (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0;
  if ((mode & ~kKnown) != 0) return Fail(EOPNOTSUPP, "fallocate");
  WriteLock lock(mu_);
  if (finished()) return files_.Allocate(upper(), mode, offset, length);
  const off_t end = offset + length;
  STRATA_TRY_ASSIGN(const off_t size, Size());
  if (end > size && (mode & FALLOC_FL_KEEP_SIZE) == 0) STRATA_TRY(CopyLast(size));
  if (!clears) return files_.Allocate(upper(), mode, offset, length);
  STRATA_TRY(CopyEdges(offset, end, size));
  STRATA_TRY(files_.Allocate(upper(), mode, offset, length));
  const std::uint64_t first = EndBlock(offset);
  const std::uint64_t last = end >= size ? EndBlock(end) : FirstBlock(end);
  if (first < last) STRATA_TRY(map_->MarkZeros(first, last));
  // Where the upper file had nothing, its filesystem may not have noticed a change (btrfs).
  constexpr struct timespec kTimes[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
  return files_.Utimes(upper(), kTimes);
}

Result<off_t> PartialFile::Seek(off_t offset, int whence) {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return Fail(EINVAL, "lseek");
  ReadLock lock(mu_);
  STRATA_TRY_ASSIGN(const off_t size, Size());
  if (offset < 0 || offset >= size) return Fail(ENXIO, "lseek");
  for (const ContentPart& part : Parts(offset, size)) {
    const off_t part_end = part.offset + static_cast<off_t>(part.length);
    if (part.fd < 0) {
      if (whence == SEEK_HOLE) return part.offset;
      continue;
    }
    auto found = files_.Seek(part.fd, part.offset, whence);
    if (found && *found < part_end) return found;
    if (!found && found.error().code() != ENXIO) return found;
    if (!found && whence == SEEK_HOLE) return part.offset;
  }
  if (whence == SEEK_HOLE) return size;
  return Fail(ENXIO, "lseek");
}

Result<> PartialFile::Sync(bool data_only) {
  STRATA_TRY(data_only ? files_.SyncData(upper()) : files_.Sync(upper()));
  return finished() ? Result<>() : map_->Sync();
}

Result<std::optional<off_t>> PartialFile::CopySome(off_t from, off_t length) {
  WriteLock lock(mu_);
  STRATA_TRY_ASSIGN(const off_t size, Size());
  if (finished()) return std::optional<off_t>();
  std::uint64_t block = FirstBlock(from);
  while (block < map_->blocks() && map_->At(block) != BlockMap::Place::kLower) {
    block = map_->RunEnd(block, map_->blocks());
  }
  if (block >= map_->blocks()) return std::optional<off_t>();
  const std::uint64_t end =
      map_->RunEnd(block, std::min(map_->blocks(), EndBlock(StartOf(block) + length)));
  const off_t end_offset = std::min({StartOf(end), size, static_cast<off_t>(map_->source().size)});
  const UnnoticedWriting unnoticed(files_, upper());
  STRATA_TRY(ClearUpper(StartOf(block), end_offset));
  STRATA_TRY(CopySparseExtent(files_, lower_->get(), upper(), StartOf(block), end_offset));
  STRATA_TRY(map_->MarkUpper(block, end));
  return std::optional<off_t>(StartOf(end));
}

Result<> PartialFile::Finish(const std::function<Result<>()>& unmark) {
  WriteLock lock(mu_);
  if (finished()) return {};
  STRATA_TRY(unmark());
  finished_.store(true, std::memory_order_release);
  return {};
}

Result<std::shared_ptr<PartialFile>> PartialFiles::FindOrMake(std::uint64_t inode,
                                                              const Make& make) {
  MutexLock lock(mu_);
  auto& known = files_[inode];
  if (auto file = known.lock()) return file;
  auto made = make();
  if (!made || *made == nullptr) {
    files_.erase(inode);
    return made;
  }
  known = *made;
  std::erase_if(files_, [](const auto& item) { return item.second.expired(); });
  return made;
}

}  // namespace strata::fusefs
