// Which blocks of a half-copied file are where: in the upper file, nowhere (zeros), or still in the
// lower file. One file per half-copied file, in the work directory; docs/formats/upper.md has its
// layout and what makes it safe against crashes.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_ops.h"

namespace strata::fusefs {

// Names a block map; the upper file names it in an xattr.
using BlockMapId = std::array<std::uint8_t, 16>;

// A fresh one. EIO if the kernel gives no random bytes.
Result<BlockMapId> NewBlockMapId();
std::string BlockMapName(const BlockMapId& id);

// The value of the metacopy mark of a half-copied file: too short for any version of that mark.
// Kernel overlayfs refuses such a file whatever it was mounted with (since linux 6.6:
// fs/overlayfs/util.c, ovl_check_metacopy_xattr).
inline constexpr std::string_view kHalfCopiedMark = "S";
bool SaysHalfCopied(std::string_view mark);
// Whether the value is one of kernel overlayfs: all data is in a lower layer.
bool SaysAllIsBelow(std::string_view mark);
// The id in the xattr that names a file's map, as it is written there; nothing if it is none.
std::string_view BlockMapIdBytes(const BlockMapId& id);
std::optional<BlockMapId> ParseBlockMapId(std::string_view bytes);
// Before version 2 of the format the mark itself held the id; nothing for other marks.
std::optional<BlockMapId> IdInOldMark(std::string_view mark);

// Where maps are.
struct BlockMapDir {
  FileOps& files;
  int fd = -1;
  std::string header_xattr;  // of a map, holds its header
};

// Not thread-safe.
class BlockMap {
 public:
  enum class Place : std::uint8_t { kLower, kUpper, kZeros };

  // The lower file the blocks come from, as it was; one that differs must not be read.
  struct Source {
    std::uint64_t size = 0;  // bytes; the map covers these, what is beyond is in the upper file
    std::int64_t mtime_sec = 0;
    std::uint32_t mtime_nsec = 0;
    bool operator==(const Source&) const = default;
  };
  static Source SourceOf(const struct stat& st);

  // A new map, all blocks in the lower file. `upper_handle` (at most kMaxHandle bytes, may be
  // empty) finds the upper file without its name (name_to_handle_at(2)).
  static Result<std::unique_ptr<BlockMap>> Create(const BlockMapDir& dir, const BlockMapId& id,
                                                  const Source& source,
                                                  std::string_view upper_handle);
  // EIO, naming it, for one that is missing or damaged. `upper` is the half-copied file: after a
  // restart of the machine, blocks whose data did not reach the disk are taken for not copied.
  static Result<std::unique_ptr<BlockMap>> Open(const BlockMapDir& dir, const BlockMapId& id,
                                                int upper);
  // The handle given to Create(); EIO for a damaged map.
  static Result<std::string> UpperHandle(const BlockMapDir& dir, const char* name);
  static constexpr std::size_t kMaxHandle = 128;

  const Source& source() const { return source_; }
  off_t block_size() const { return block_size_; }
  // Blocks that may be in the lower file; all from this number on are in the upper.
  std::uint64_t blocks() const { return blocks_; }
  Place At(std::uint64_t block) const;
  // The end of the run of blocks from `block` on that are in the same place, at most `end`.
  std::uint64_t RunEnd(std::uint64_t block, std::uint64_t end) const;
  std::uint64_t copied() const { return upper_.count; }

  // Blocks [first, end) are in the upper file from now on, whose data must be there already.
  Result<> MarkUpper(std::uint64_t first, std::uint64_t end);
  // Blocks [first, end) read as zeros, unless they are marked as in the upper file again.
  Result<> MarkZeros(std::uint64_t first, std::uint64_t end);
  // fdatasync(2) of the map.
  Result<> Sync() { return files_.SyncData(fd_.get()); }
  int fd() const { return fd_.get(); }

 private:
  struct Bits {
    off_t file_offset = 0;
    std::vector<std::uint64_t> words;
    std::uint64_t count = 0;
    bool Has(std::uint64_t block) const { return ((words[block / 64] >> (block % 64)) & 1U) != 0; }
  };

  BlockMap(FileOps& files, UniqueFd fd) : files_(files), fd_(std::move(fd)) {}
  void Lay(const Source& source, std::uint32_t block_size);
  Result<> Load(Bits& bits);
  Result<> Change(Bits& bits, std::uint64_t first, std::uint64_t end, bool value);
  // Drops marks of blocks whose data the disk does not have.
  Result<> Recover(int upper);

  FileOps& files_;
  UniqueFd fd_;
  Source source_;
  off_t block_size_ = 0;
  std::uint64_t blocks_ = 0;
  Bits upper_;
  Bits zeros_;  // counts only where `upper_` has nothing
};

}  // namespace strata::fusefs
