#include "fusefs/union/block_map.h"

#include <linux/falloc.h>
#include <sys/random.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>

#include "base/hex.h"
#include "base/logging.h"
#include "base/try.h"

namespace strata::fusefs {
namespace {

constexpr std::array<char, 8> kMagic = {'S', 'T', 'R', 'B', 'M', 'A', 'P', '\0'};
constexpr std::uint32_t kVersion = 1;
constexpr std::uint32_t kSmallestBlock = 4096;
constexpr std::uint64_t kMostBlocks = std::uint64_t{1} << 24U;  // then blocks get larger
constexpr std::uint32_t kLargestBlock = 1U << 30U;

// struct ovl_metacopy: version, length, flags, digest algorithm, digest. Version 0 is the kernel's.
constexpr std::uint8_t kOldMarkVersion = 0x53;
constexpr std::size_t kMarkHeader = 4;

using BootId = std::array<char, 36>;

struct Header {
  std::array<char, 8> magic = kMagic;
  std::uint32_t version = kVersion;
  std::uint32_t block_size = 0;
  std::uint64_t source_size = 0;
  std::int64_t source_mtime_sec = 0;
  std::uint32_t source_mtime_nsec = 0;
  std::uint32_t handle_length = 0;
  std::array<char, BlockMap::kMaxHandle> handle{};
  BlockMapId id{};
  // XXH3-128 of all before it, in canonical (big endian) form.
  std::array<std::uint8_t, 16> checksum{};
  // Changes: the boot in which the marks were last checked against the disk.
  BootId boot{};
  std::uint32_t unused = 0;
};
static_assert(std::endian::native == std::endian::little && sizeof(Header) == 240);

std::array<std::uint8_t, 16> ChecksumOf(const Header& header) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(&header, offsetof(Header, checksum)));
  std::array<std::uint8_t, 16> sum{};
  std::memcpy(sum.data(), canonical.digest, sum.size());
  return sum;
}

Result<BootId> CurrentBoot(FileOps& files) {
  STRATA_TRY_ASSIGN(const UniqueFd fd,
                    files.Open(AT_FDCWD, "/proc/sys/kernel/random/boot_id", O_RDONLY));
  STRATA_TRY_ASSIGN(const std::string text, ReadAll(files, fd.get(), 4096));
  BootId boot{};
  std::copy_n(text.begin(), std::min(text.size(), boot.size()), boot.begin());
  return boot;
}

std::uint32_t BlockSizeFor(std::uint64_t size) {
  std::uint32_t block = kSmallestBlock;
  while (block < kLargestBlock && size / block >= kMostBlocks) block *= 2;
  return block;
}

std::size_t WordsFor(std::uint64_t blocks) { return static_cast<std::size_t>((blocks + 63) / 64); }

Error Damaged(std::string name, const char* how) {
  return Error(EIO, "block map", "block map " + std::move(name) + " " + how);
}

Result<> WriteHeader(const BlockMapDir& dir, int fd, const Header& header) {
  const std::string_view value(reinterpret_cast<const char*>(&header), sizeof header);
  return dir.files.SetXattr(fd, dir.header_xattr.c_str(), value);
}

Result<Header> ReadHeader(const BlockMapDir& dir, int fd, const std::string& name) {
  auto value = dir.files.GetXattr(fd, dir.header_xattr.c_str());
  if (!value && value.error().code() != ENODATA) return std::unexpected(std::move(value).error());
  Header header;
  if (!value || value->size() != sizeof header) {
    return std::unexpected(Damaged(name, "is not a block map"));
  }
  std::memcpy(&header, value->data(), sizeof header);
  if (header.magic != kMagic) return std::unexpected(Damaged(name, "is not a block map"));
  if (header.version != kVersion) return std::unexpected(Damaged(name, "is of another version"));
  if (header.checksum != ChecksumOf(header) || header.handle_length > header.handle.size() ||
      header.block_size != BlockSizeFor(header.source_size)) {
    return std::unexpected(Damaged(name, "is damaged"));
  }
  return header;
}

// Where the first hole at or after `offset` is; `offset` itself past the end of the file.
Result<off_t> NextHole(FileOps& files, int fd, off_t offset) {
  auto hole = files.Seek(fd, offset, SEEK_HOLE);
  if (!hole && hole.error().code() == ENXIO) return offset;
  return hole;
}

}  // namespace

Result<BlockMapId> NewBlockMapId() {
  BlockMapId id{};
  if (::getrandom(id.data(), id.size(), 0) != static_cast<ssize_t>(id.size())) {
    return Fail(EIO, "getrandom");
  }
  return id;
}

std::string BlockMapName(const BlockMapId& id) { return HexEncode(id); }

bool SaysHalfCopied(std::string_view mark) {
  return mark == kHalfCopiedMark || IdInOldMark(mark).has_value();
}

std::string_view BlockMapIdBytes(const BlockMapId& id) {
  return {reinterpret_cast<const char*>(id.data()), id.size()};
}

std::optional<BlockMapId> ParseBlockMapId(std::string_view bytes) {
  BlockMapId id{};
  if (bytes.size() != id.size()) return std::nullopt;
  std::memcpy(id.data(), bytes.data(), id.size());
  return id;
}

std::optional<BlockMapId> IdInOldMark(std::string_view mark) {
  if (mark.size() < kMarkHeader || static_cast<std::uint8_t>(mark[0]) != kOldMarkVersion) {
    return std::nullopt;
  }
  return ParseBlockMapId(mark.substr(kMarkHeader));
}

bool SaysAllIsBelow(std::string_view mark) {
  return mark.empty() || (mark.size() >= kMarkHeader && mark[0] == 0 &&
                          static_cast<std::uint8_t>(mark[1]) == mark.size());
}

BlockMap::Source BlockMap::SourceOf(const struct stat& st) {
  return {static_cast<std::uint64_t>(st.st_size), st.st_mtim.tv_sec,
          static_cast<std::uint32_t>(st.st_mtim.tv_nsec)};
}

void BlockMap::Lay(const Source& source, std::uint32_t block_size) {
  source_ = source;
  block_size_ = block_size;
  blocks_ = (source.size + block_size - 1) / block_size;
  const std::size_t words = WordsFor(blocks_);
  upper_.words.resize(words);
  zeros_.words.resize(words);
  upper_.file_offset = 0;
  zeros_.file_offset = static_cast<off_t>(words * sizeof(std::uint64_t));
}

Result<std::unique_ptr<BlockMap>> BlockMap::Create(const BlockMapDir& dir, const BlockMapId& id,
                                                   const Source& source,
                                                   std::string_view upper_handle) {
  FileOps& files = dir.files;
  const std::string name = BlockMapName(id);
  STRATA_TRY_ASSIGN(UniqueFd fd,
                    files.Open(dir.fd, name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  std::unique_ptr<BlockMap> map(new BlockMap(files, std::move(fd)));
  map->Lay(source, BlockSizeFor(source.size));
  const auto fill = [&]() -> Result<> {
    Header header;
    header.block_size = static_cast<std::uint32_t>(map->block_size_);
    header.source_size = source.size;
    header.source_mtime_sec = source.mtime_sec;
    header.source_mtime_nsec = source.mtime_nsec;
    header.handle_length =
        static_cast<std::uint32_t>(std::min(upper_handle.size(), header.handle.size()));
    std::copy_n(upper_handle.begin(), header.handle_length, header.handle.begin());
    header.id = id;
    header.checksum = ChecksumOf(header);
    STRATA_TRY_ASSIGN(header.boot, CurrentBoot(files));
    const off_t end = map->zeros_.file_offset +
                      static_cast<off_t>(map->zeros_.words.size() * sizeof(std::uint64_t));
    STRATA_TRY(files.Truncate(map->fd(), end));
    return WriteHeader(dir, map->fd(), header);
  };
  auto filled = fill();
  if (!filled) {
    Ignore(files.Unlink(dir.fd, name.c_str()), "block map that could not be written");
    return std::unexpected(std::move(filled).error());
  }
  return map;
}

Result<std::unique_ptr<BlockMap>> BlockMap::Open(const BlockMapDir& dir, const BlockMapId& id,
                                                 int upper) {
  FileOps& files = dir.files;
  const std::string name = BlockMapName(id);
  auto fd = files.Open(dir.fd, name.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK);
  if (!fd) {
    const int code = fd.error().code();
    if (code == ENOENT) return std::unexpected(Damaged(name, "is missing"));
    // A symbolic link, a directory, a socket.
    if (code == ELOOP || code == EISDIR || code == ENXIO) {
      return std::unexpected(Damaged(name, "is not a block map"));
    }
    return std::unexpected(std::move(fd).error());
  }
  std::unique_ptr<BlockMap> map(new BlockMap(files, std::move(*fd)));
  STRATA_TRY_ASSIGN(Header header, ReadHeader(dir, map->fd(), name));
  if (header.id != id) return std::unexpected(Damaged(name, "belongs to another file"));
  map->Lay({header.source_size, header.source_mtime_sec, header.source_mtime_nsec},
           header.block_size);
  STRATA_TRY(map->Load(map->upper_));
  STRATA_TRY(map->Load(map->zeros_));
  STRATA_TRY_ASSIGN(const BootId boot, CurrentBoot(files));
  if (header.boot != boot) {
    STRATA_TRY(map->Recover(upper));
    header.boot = boot;
    STRATA_TRY(WriteHeader(dir, map->fd(), header));
  }
  return map;
}

Result<std::string> BlockMap::UpperHandle(const BlockMapDir& dir, const char* name) {
  STRATA_TRY_ASSIGN(const UniqueFd fd,
                    dir.files.Open(dir.fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  STRATA_TRY_ASSIGN(const Header header, ReadHeader(dir, fd.get(), name));
  return std::string(header.handle.data(), header.handle_length);
}

Result<> BlockMap::Load(Bits& bits) {
  const auto bytes = std::as_writable_bytes(std::span(bits.words));
  std::size_t done = 0;
  while (done < bytes.size()) {
    STRATA_TRY_ASSIGN(
        const std::size_t got,
        files_.ReadAt(fd(), bytes.subspan(done), bits.file_offset + static_cast<off_t>(done)));
    if (got == 0) return Fail(EIO, "block map", "a block map was cut short");
    done += got;
  }
  if (blocks_ % 64 != 0) bits.words.back() &= (std::uint64_t{1} << (blocks_ % 64)) - 1;
  for (const std::uint64_t word : bits.words) {
    bits.count += static_cast<std::uint64_t>(std::popcount(word));
  }
  return {};
}

// A block is marked after its data was written, but the disk may have got the mark first. The
// filesystem shows a block as data only once its data is there.
Result<> BlockMap::Recover(int upper) {
  std::uint64_t dropped = 0;
  STRATA_TRY_ASSIGN(const struct stat st, files_.Stat(upper));
  for (std::uint64_t block = 0; block < blocks_;) {
    const std::uint64_t end = RunEnd(block, blocks_);
    if (At(block) != Place::kUpper) {
      block = end;
      continue;
    }
    STRATA_TRY_ASSIGN(const off_t hole,
                      NextHole(files_, upper, static_cast<off_t>(block) * block_size_));
    block =
        hole >= st.st_size ? end : std::min(end, static_cast<std::uint64_t>(hole / block_size_));
    if (block == end) continue;
    // What did arrive of the block must not show where the lower file has a hole.
    STRATA_TRY(files_.Allocate(upper, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                               static_cast<off_t>(block) * block_size_, block_size_));
    STRATA_TRY(Change(upper_, block, block + 1, false));
    ++dropped;
    ++block;
  }
  if (dropped != 0) {
    log::Info("writes that did not reach the disk before the machine stopped were dropped",
              {{"blocks", dropped}});
  }
  return {};
}

BlockMap::Place BlockMap::At(std::uint64_t block) const {
  if (block >= blocks_ || upper_.Has(block)) return Place::kUpper;
  return zeros_.Has(block) ? Place::kZeros : Place::kLower;
}

std::uint64_t BlockMap::RunEnd(std::uint64_t block, std::uint64_t end) const {
  const Place place = At(block);
  if (block >= blocks_) return end;
  std::uint64_t next = block + 1;
  while (next < end && next < blocks_) {
    // Whole words of untouched or of copied blocks at once.
    if (next % 64 == 0 && next + 64 <= std::min(end, blocks_)) {
      const std::uint64_t upper = upper_.words[next / 64];
      const bool all_upper = upper == ~std::uint64_t{0};
      const bool all_lower = upper == 0 && zeros_.words[next / 64] == 0;
      if ((place == Place::kUpper && all_upper) || (place == Place::kLower && all_lower)) {
        next += 64;
        continue;
      }
    }
    if (At(next) != place) return next;
    ++next;
  }
  return next == blocks_ && place == Place::kUpper ? end : std::min(next, end);
}

Result<> BlockMap::Change(Bits& bits, std::uint64_t first, std::uint64_t end, bool value) {
  end = std::min(end, blocks_);
  if (first >= end) return {};
  const std::size_t first_word = first / 64;
  const std::size_t end_word = WordsFor(end);
  std::vector<std::uint64_t> changed(bits.words.begin() + static_cast<std::ptrdiff_t>(first_word),
                                     bits.words.begin() + static_cast<std::ptrdiff_t>(end_word));
  for (std::uint64_t block = first; block < end;) {
    std::uint64_t& word = changed[block / 64 - first_word];
    if (block % 64 == 0 && block + 64 <= end) {
      word = value ? ~std::uint64_t{0} : 0;
      block += 64;
      continue;
    }
    const std::uint64_t bit = std::uint64_t{1} << (block % 64);
    word = value ? word | bit : word & ~bit;
    ++block;
  }
  if (std::ranges::equal(changed, std::span(bits.words).subspan(first_word, changed.size()))) {
    return {};  // what needs no room must not fail for want of it
  }
  STRATA_TRY(WriteAllAt(files_, fd(), std::as_bytes(std::span(changed)),
                        bits.file_offset + static_cast<off_t>(first_word * sizeof(std::uint64_t))));
  for (std::size_t i = 0; i < changed.size(); ++i) {
    std::uint64_t& word = bits.words[first_word + i];
    bits.count -= static_cast<std::uint64_t>(std::popcount(word));
    word = changed[i];
    bits.count += static_cast<std::uint64_t>(std::popcount(word));
  }
  return {};
}

Result<> BlockMap::MarkUpper(std::uint64_t first, std::uint64_t end) {
  return Change(upper_, first, end, true);
}

Result<> BlockMap::MarkZeros(std::uint64_t first, std::uint64_t end) {
  // In this order a block is at no time taken for a lower one.
  STRATA_TRY(Change(zeros_, first, end, true));
  return Change(upper_, first, end, false);
}

}  // namespace strata::fusefs
