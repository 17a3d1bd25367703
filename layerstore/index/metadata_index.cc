#include "layerstore/index/metadata_index.h"

#include <sys/mman.h>
#include <xxhash.h>

#include <algorithm>
#include <utility>

#include "base/path.h"
#include "base/try.h"
#include "layerstore/index/format.h"

namespace strata::layerstore {
namespace {

using format::DirectoryRecord;
using format::EntryRecord;
using format::Header;
using format::kNone;
using format::LayerRecord;
using format::MoveRecord;

std::unexpected<Error> Damaged(const char* what) { return Fail(EBADMSG, "index", what); }

bool Has(const EntryRecord& record, format::EntryFlag flag) { return (record.flags & flag) != 0; }

}  // namespace

LayerProof LayerProof::Of(const struct stat& root) {
  return {root.st_ino, root.st_ctim.tv_sec, static_cast<std::uint32_t>(root.st_ctim.tv_nsec)};
}

Result<std::shared_ptr<const MetadataIndex>> MetadataIndex::Open(FileOps& files, int dir,
                                                                 const char* name) {
  STRATA_TRY_ASSIGN(const UniqueFd fd, files.Open(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  STRATA_TRY_ASSIGN(const struct stat st, files.Stat(fd.get()));
  if (!S_ISREG(st.st_mode) || st.st_size < static_cast<off_t>(sizeof(Header))) {
    return Damaged("too short");
  }
  const auto size = static_cast<std::uint64_t>(st.st_size);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) return FailErrno("mmap", "index");
  std::shared_ptr<MetadataIndex> index(
      new MetadataIndex(static_cast<const std::byte*>(data), size));
  STRATA_TRY(index->CheckHead());
  return index;
}

std::optional<bool> MetadataIndex::MarksOf(FileOps& files, int dir, const char* name) {
  const auto fd = files.Open(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!fd) return std::nullopt;
  Header head;
  const auto read = files.ReadAt(fd->get(), std::as_writable_bytes(std::span(&head, 1)), 0);
  if (!read || *read != sizeof head || head.magic != format::kMagic) return std::nullopt;
  return (head.flags & format::kUserMarks) != 0;
}

MetadataIndex::~MetadataIndex() { ::munmap(const_cast<std::byte*>(data_), size_); }

const Header& MetadataIndex::header() const { return *reinterpret_cast<const Header*>(data_); }
MetadataIndex::Kind MetadataIndex::kind() const {
  return header().kind == format::kLayer ? Kind::kLayer : Kind::kChain;
}
bool MetadataIndex::user_marks() const { return (header().flags & format::kUserMarks) != 0; }
std::uint32_t MetadataIndex::entries() const { return header().entries; }
std::uint32_t MetadataIndex::directories() const { return header().directories; }

Result<> MetadataIndex::CheckHead() {
  const Header& head = header();
  if (head.magic != format::kMagic) return Damaged("not an index");
  if (head.version != format::kVersion) {
    return Fail(EPROTONOSUPPORT, "index",
                "version " + std::to_string(head.version) + ", this program reads " +
                    std::to_string(format::kVersion));
  }
  // All counts are of 32 bits but one, so none of the sums can wrap once that one is bounded.
  if (head.strings > size_) return Damaged("strings beyond the end");
  const std::uint64_t body = head.directories * sizeof(DirectoryRecord) +
                             head.entries * sizeof(EntryRecord) + head.moves * sizeof(MoveRecord) +
                             head.strings;
  blocks_ = (body + format::kBlock - 1) / format::kBlock;
  const std::uint64_t paths_at = sizeof(Header) + head.layers * sizeof(LayerRecord);
  sums_at_ = paths_at + head.paths;
  body_at_ = sums_at_ + blocks_ * sizeof(std::uint64_t);
  if (body_at_ + body != size_) return Damaged("wrong size");

  std::string bytes(reinterpret_cast<const char*>(data_), body_at_);
  reinterpret_cast<Header*>(bytes.data())->checksum = 0;
  if (XXH3_64bits(bytes.data(), bytes.size()) != head.checksum) {
    return Damaged("wrong checksum of the head");
  }

  if (head.kind != format::kLayer && head.kind != format::kChain) return Damaged("unknown kind");
  if (head.layers == 0 || head.layers > 0xFFFFU || head.directories == 0 || head.entries == 0) {
    return Damaged("empty");
  }
  const std::string_view paths(reinterpret_cast<const char*>(data_ + paths_at), head.paths);
  const auto* records = reinterpret_cast<const LayerRecord*>(data_ + sizeof(Header));
  for (const LayerRecord& record : std::span(records, head.layers)) {
    if (std::uint64_t{record.path_at} + record.path_length > paths.size()) {
      return Damaged("path beyond the end");
    }
    layers_.push_back({{record.root_ino, record.ctime_sec, record.ctime_nsec},
                       static_cast<blksize_t>(record.block_size),
                       paths.substr(record.path_at, record.path_length)});
  }
  directories_at_ = body_at_;
  entries_at_ = directories_at_ + head.directories * sizeof(DirectoryRecord);
  moves_at_ = entries_at_ + head.entries * sizeof(EntryRecord);
  strings_at_ = moves_at_ + head.moves * sizeof(MoveRecord);
  good_ = std::make_unique<std::atomic<bool>[]>(blocks_);
  return {};
}

Result<> MetadataIndex::CheckBlock(std::uint64_t block) const {
  const std::uint64_t start = body_at_ + block * format::kBlock;
  const std::uint64_t length = std::min(format::kBlock, size_ - start);
  // Read by the kernel at once. A page that cannot be read becomes an error here instead of a
  // signal at its first use; kernels before 5.14 do not know the advice and read page by page.
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t from = start / page * page;
  auto* address = const_cast<std::byte*>(data_ + from);
  if (::madvise(address, start + length - from, MADV_POPULATE_READ) != 0 && errno != EINVAL) {
    return FailErrno("madvise", "index");
  }
  format::Little<std::uint64_t> expected;
  std::memcpy(&expected, data_ + sums_at_ + block * sizeof expected, sizeof expected);
  if (XXH3_64bits(data_ + start, length) != expected) {
    return Fail(EBADMSG, "index", "wrong checksum of block " + std::to_string(block));
  }
  good_[block].store(true, std::memory_order_release);
  return {};
}

Result<> MetadataIndex::Check(std::uint64_t offset, std::uint64_t length) const {
  const std::uint64_t first = (offset - body_at_) / format::kBlock;
  const std::uint64_t last =
      (offset - body_at_ + std::max<std::uint64_t>(length, 1) - 1) / format::kBlock;
  for (std::uint64_t block = first; block <= last; ++block) {
    if (!good_[block].load(std::memory_order_acquire)) STRATA_TRY(CheckBlock(block));
  }
  return {};
}

Result<> MetadataIndex::Verify() const {
  for (std::uint64_t block = 0; block < blocks_; ++block) STRATA_TRY(CheckBlock(block));
  return {};
}

template <class Record>
Result<const Record*> MetadataIndex::RecordAt(std::uint64_t section, std::uint64_t number,
                                              std::uint64_t count) const {
  if (number >= count) return Damaged("number beyond the end");
  const std::uint64_t offset = section + number * sizeof(Record);
  STRATA_TRY(Check(offset, sizeof(Record)));
  return reinterpret_cast<const Record*>(data_ + offset);
}

Result<std::string_view> MetadataIndex::String(std::uint64_t at, std::uint64_t length) const {
  if (length == 0) return std::string_view();
  if (at + length > header().strings) return Damaged("string beyond the end");
  STRATA_TRY(Check(strings_at_ + at, length));
  return std::string_view(reinterpret_cast<const char*>(data_ + strings_at_ + at), length);
}

Result<MetadataIndex::Names> MetadataIndex::List(Directory directory) const {
  STRATA_TRY_ASSIGN(const DirectoryRecord* record,
                    RecordAt<DirectoryRecord>(directories_at_, directory, directories()));
  if (std::uint64_t{record->first} + record->count > entries()) return Damaged("entries");
  return Names{record->first, record->count};
}

Result<MetadataIndex::Entry> MetadataIndex::Decode(const EntryRecord& record, Number number) const {
  Entry entry;
  entry.number = number;
  STRATA_TRY_ASSIGN(entry.name, String(record.name_at, record.name_length));
  if (number != 0 && !PathComponent::Valid(entry.name)) return Damaged("not a name");
  entry.layer = record.layer;
  if (entry.layer >= layers_.size()) return Damaged("unknown layer");
  entry.parent = record.parent;
  // Numbers grow downwards, which is what makes every walk along them end.
  if (record.directory != kNone) {
    const bool below = number == 0 ? record.directory == kRoot : record.directory > record.parent;
    if (!below || !S_ISDIR(record.mode)) return Damaged("not a tree");
    entry.directory = record.directory;
  }
  entry.whiteout = Has(record, format::kWhiteout);
  entry.opaque = Has(record, format::kOpaque);
  entry.alone = Has(record, format::kAlone);
  entry.has_xattrs = Has(record, format::kHasXattrs);
  entry.merged = Has(record, format::kMerged);
  entry.metacopy = Has(record, format::kMetacopy);
  entry.implied = Has(record, format::kImplied);
  entry.attr.st_mode = record.mode;
  return entry;
}

Result<MetadataIndex::Entry> MetadataIndex::NameAt(Number number) const {
  STRATA_TRY_ASSIGN(const EntryRecord* record,
                    RecordAt<EntryRecord>(entries_at_, number, entries()));
  return Decode(*record, number);
}

Result<MetadataIndex::Entry> MetadataIndex::At(Number number) const {
  STRATA_TRY_ASSIGN(const EntryRecord* record,
                    RecordAt<EntryRecord>(entries_at_, number, entries()));
  STRATA_TRY_ASSIGN(Entry entry, Decode(*record, number));
  STRATA_TRY_ASSIGN(entry.target, String(record->target_at, record->target_length));
  if (record->identity != kNone) entry.identity = record->identity;
  struct stat& st = entry.attr;
  st.st_ino = record->ino;
  st.st_size = static_cast<off_t>(record->size);
  st.st_blocks = static_cast<blkcnt_t>(record->blocks);
  st.st_blksize = layers_[entry.layer].block_size;
  st.st_rdev = record->rdev;
  st.st_nlink = record->nlink;
  st.st_uid = record->uid;
  st.st_gid = record->gid;
  st.st_mtim = {record->mtime_sec, record->mtime_nsec};
  st.st_ctim = {record->ctime_sec, record->ctime_nsec};
  st.st_atim = {record->atime_sec, record->atime_nsec};
  return entry;
}

Result<std::optional<MetadataIndex::Number>> MetadataIndex::Find(Directory directory,
                                                                 std::string_view name) const {
  STRATA_TRY_ASSIGN(const Names names, List(directory));
  Number low = names.first;
  Number high = names.end();
  while (low < high) {
    const Number middle = low + (high - low) / 2;
    STRATA_TRY_ASSIGN(const EntryRecord* record,
                      RecordAt<EntryRecord>(entries_at_, middle, entries()));
    STRATA_TRY_ASSIGN(const std::string_view found, String(record->name_at, record->name_length));
    const int order = name.compare(found);
    if (order == 0) {
      if (record->parent != directory) return Damaged("not a tree");
      return std::optional(middle);
    }
    if (order < 0) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return std::optional<Number>();
}

Result<std::optional<MetadataIndex::Directory>> MetadataIndex::FindDirectory(
    std::string_view path) const {
  Directory directory = kRoot;
  while (!path.empty()) {
    const std::size_t slash = std::min(path.find('/'), path.size());
    STRATA_TRY_ASSIGN(const auto number, Find(directory, path.substr(0, slash)));
    if (!number) return std::optional<Directory>();
    STRATA_TRY_ASSIGN(const Entry entry, NameAt(*number));
    if (!entry.directory) return std::optional<Directory>();
    directory = *entry.directory;
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return std::optional(directory);
}

Result<MetadataIndex::Number> MetadataIndex::EntryOf(Directory directory) const {
  STRATA_TRY_ASSIGN(const DirectoryRecord* record,
                    RecordAt<DirectoryRecord>(directories_at_, directory, directories()));
  STRATA_TRY_ASSIGN(const EntryRecord* entry,
                    RecordAt<EntryRecord>(entries_at_, record->entry, entries()));
  if (entry->directory != directory) return Damaged("not a tree");
  return Number{record->entry};
}

Result<std::vector<MetadataIndex::Place>> MetadataIndex::Moves(Directory directory) const {
  STRATA_TRY_ASSIGN(const DirectoryRecord* record,
                    RecordAt<DirectoryRecord>(directories_at_, directory, directories()));
  std::vector<Place> places;
  for (std::uint64_t i = 0; i < record->moves; ++i) {
    STRATA_TRY_ASSIGN(const MoveRecord* move,
                      RecordAt<MoveRecord>(moves_at_, record->first_move + i, header().moves));
    STRATA_TRY_ASSIGN(const std::string_view path, String(move->path_at, move->path_length));
    places.push_back({move->first, move->last, std::string(path)});
  }
  return places;
}

// Up to the root, or to where `layer` has a directory of the way under another path.
Result<std::string> MetadataIndex::Climb(Directory directory,
                                         std::optional<std::uint16_t> layer) const {
  std::vector<std::string_view> parts;
  std::string path;
  while (directory != kRoot) {
    if (layer) {
      STRATA_TRY_ASSIGN(const std::vector<Place> moves, Moves(directory));
      const auto move = std::ranges::find_if(
          moves, [&](const Place& place) { return place.first <= *layer && *layer <= place.last; });
      if (move != moves.end()) {
        path = move->path;
        break;
      }
    }
    STRATA_TRY_ASSIGN(const Number number, EntryOf(directory));
    STRATA_TRY_ASSIGN(const Entry entry, NameAt(number));  // parent is lower: see Decode()
    parts.push_back(entry.name);
    directory = entry.parent;
  }
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) path = JoinPath(path, *part);
  return path;
}

Result<std::string> MetadataIndex::PathOf(Directory directory) const {
  return Climb(directory, std::nullopt);
}

Result<std::string> MetadataIndex::PathInLayer(Directory directory, std::uint16_t layer) const {
  return Climb(directory, layer);
}

Result<std::string> MetadataIndex::PathInLayer(const Entry& entry) const {
  if (entry.directory) return PathInLayer(*entry.directory, entry.layer);
  STRATA_TRY_ASSIGN(const std::string directory, PathInLayer(entry.parent, entry.layer));
  return JoinPath(directory, entry.name);
}

}  // namespace strata::layerstore
