#include "layerstore/index/index_writer.h"

#include <xxhash.h>

#include <algorithm>
#include <limits>

#include "base/try.h"

namespace strata::layerstore {
namespace {

constexpr std::size_t kMaxEntries = std::size_t{1} << 31U;

template <class Record>
std::string_view BytesOf(const Record& record) {
  return {reinterpret_cast<const char*>(&record), sizeof record};
}

std::uint16_t Flags(const MetadataIndex::Entry& entry) {
  unsigned flags = 0;
  if (entry.whiteout) flags |= format::kWhiteout;
  if (entry.opaque) flags |= format::kOpaque;
  if (entry.alone) flags |= format::kAlone;
  if (entry.has_xattrs) flags |= format::kHasXattrs;
  if (entry.merged) flags |= format::kMerged;
  if (entry.metacopy) flags |= format::kMetacopy;
  if (entry.implied) flags |= format::kImplied;
  return static_cast<std::uint16_t>(flags);
}

std::uint32_t Nanoseconds(const struct timespec& time) {
  return static_cast<std::uint32_t>(time.tv_nsec);
}

// Writes the body, block by block with their checksums.
class Blocks {
 public:
  Blocks(FileOps& files, int file, std::uint64_t at) : files_(files), file_(file), at_(at) {}

  Result<> Add(std::string_view bytes) {
    while (!bytes.empty()) {
      const std::size_t part = std::min(bytes.size(), kAtOnce - waiting_.size());
      waiting_.append(bytes.substr(0, part));
      bytes.remove_prefix(part);
      if (waiting_.size() == kAtOnce) STRATA_TRY(Write());
    }
    return {};
  }
  Result<> Write() {
    for (std::size_t at = 0; at < waiting_.size(); at += format::kBlock) {
      const std::string_view block = std::string_view(waiting_).substr(at, format::kBlock);
      const format::Little<std::uint64_t> sum(XXH3_64bits(block.data(), block.size()));
      sums_.append(BytesOf(sum));
    }
    STRATA_TRY(
        WriteAllAt(files_, file_, std::as_bytes(std::span(waiting_)), static_cast<off_t>(at_)));
    at_ += waiting_.size();
    waiting_.clear();
    return {};
  }
  const std::string& sums() const { return sums_; }

 private:
  static constexpr std::size_t kAtOnce = 8 * format::kBlock;

  FileOps& files_;
  const int file_;
  std::uint64_t at_;
  std::string waiting_;
  std::string sums_;
};

}  // namespace

IndexWriter::IndexWriter(FileOps& files, int scratch, MetadataIndex::Kind kind, bool user_marks)
    : files_(files),
      kind_(kind),
      user_marks_(user_marks),
      entries_(files, scratch),
      move_records_(files, scratch),
      strings_(files, scratch) {}

void IndexWriter::AddLayer(const MetadataIndex::Layer& layer) {
  format::LayerRecord record;
  record.root_ino = layer.proof.root_ino;
  record.ctime_sec = layer.proof.ctime_sec;
  record.ctime_nsec = layer.proof.ctime_nsec;
  record.block_size = static_cast<std::uint32_t>(layer.block_size);
  record.path_at = static_cast<std::uint32_t>(paths_.size());
  record.path_length = static_cast<std::uint32_t>(layer.path.size());
  paths_.append(layer.path);
  layers_.push_back(record);
}

Result<std::uint32_t> IndexWriter::AddString(std::string_view text) {
  if (strings_.size() + text.size() > std::numeric_limits<std::uint32_t>::max()) {
    return Fail(E2BIG, "index", "too many names");
  }
  const auto at = static_cast<std::uint32_t>(strings_.size());
  STRATA_TRY(strings_.Append(text));
  return at;
}

Result<> IndexWriter::Append(MetadataIndex::Entry& entry, std::uint32_t parent) {
  if (entries() == kMaxEntries) return Fail(E2BIG, "index", "too many entries");
  const struct stat& st = entry.attr;
  format::EntryRecord record;
  record.ino = st.st_ino;
  record.size = static_cast<std::uint64_t>(st.st_size);
  record.blocks = static_cast<std::uint64_t>(st.st_blocks);
  record.rdev = st.st_rdev;
  record.mtime_sec = st.st_mtim.tv_sec;
  record.ctime_sec = st.st_ctim.tv_sec;
  record.atime_sec = st.st_atim.tv_sec;
  record.mtime_nsec = Nanoseconds(st.st_mtim);
  record.ctime_nsec = Nanoseconds(st.st_ctim);
  record.atime_nsec = Nanoseconds(st.st_atim);
  record.mode = st.st_mode;
  record.uid = st.st_uid;
  record.gid = st.st_gid;
  record.nlink = static_cast<std::uint32_t>(st.st_nlink);
  record.identity = entry.identity.value_or(format::kNone);
  record.parent = parent;
  STRATA_TRY_ASSIGN(record.name_at, AddString(entry.name));
  record.name_length = static_cast<std::uint8_t>(entry.name.size());
  STRATA_TRY_ASSIGN(record.target_at, AddString(entry.target));
  record.target_length = static_cast<std::uint16_t>(entry.target.size());
  record.layer = entry.layer;
  record.flags = Flags(entry);
  record.directory = format::kNone;
  entry.number = static_cast<MetadataIndex::Number>(entries());
  if (S_ISDIR(st.st_mode)) {
    entry.directory = static_cast<MetadataIndex::Directory>(directories_.size());
    record.directory = *entry.directory;
    format::DirectoryRecord directory;
    directory.entry = entry.number;
    directory.parent = parent;
    directories_.push_back(directory);
  }
  return entries_.Append(BytesOf(record));
}

Result<> IndexWriter::AddRoot(const MetadataIndex::Entry& root) {
  MetadataIndex::Entry entry = root;
  entry.name = {};
  return Append(entry, format::kNone);
}

void IndexWriter::Begin(MetadataIndex::Directory directory) {
  current_ = directory;
  directories_[directory].first = static_cast<std::uint32_t>(entries());
}

Result<> IndexWriter::Add(MetadataIndex::Entry& entry) { return Append(entry, current_); }

Result<> IndexWriter::End(std::span<const MetadataIndex::Place> moves) {
  format::DirectoryRecord& record = directories_[current_];
  record.count = static_cast<std::uint32_t>(entries() - record.first);
  record.first_move = moves_;
  record.moves = static_cast<std::uint32_t>(moves.size());
  for (const MetadataIndex::Place& place : moves) {
    format::MoveRecord move;
    move.first = place.first;
    move.last = place.last;
    STRATA_TRY_ASSIGN(move.path_at, AddString(place.path));
    move.path_length = static_cast<std::uint32_t>(place.path.size());
    STRATA_TRY(move_records_.Append(BytesOf(move)));
    ++moves_;
  }
  return {};
}

Result<format::EntryRecord> IndexWriter::Load(MetadataIndex::Number number) const {
  format::EntryRecord record;
  STRATA_TRY(entries_.Load(number * sizeof record, std::as_writable_bytes(std::span(&record, 1))));
  return record;
}

Result<> IndexWriter::Store(MetadataIndex::Number number, const format::EntryRecord& record) {
  return entries_.Store(number * sizeof record, std::as_bytes(std::span(&record, 1)));
}

Result<> IndexWriter::MarkOpaque(MetadataIndex::Directory directory) {
  const MetadataIndex::Number number = directories_[directory].entry;
  STRATA_TRY_ASSIGN(format::EntryRecord record, Load(number));
  record.flags = static_cast<std::uint16_t>(record.flags | format::kOpaque);
  return Store(number, record);
}

Result<> IndexWriter::SetLinks(MetadataIndex::Number number, std::uint32_t links,
                               std::optional<std::uint32_t> identity) {
  STRATA_TRY_ASSIGN(format::EntryRecord record, Load(number));
  record.nlink = links;
  record.identity = identity.value_or(format::kNone);
  return Store(number, record);
}

format::Header IndexWriter::Head() const {
  format::Header header;
  header.magic = format::kMagic;
  header.version = format::kVersion;
  header.kind = kind_ == MetadataIndex::Kind::kLayer ? format::kLayer : format::kChain;
  header.flags = user_marks_ ? std::uint32_t{format::kUserMarks} : 0U;
  header.layers = static_cast<std::uint32_t>(layers_.size());
  header.directories = static_cast<std::uint32_t>(directories_.size());
  header.entries = static_cast<std::uint32_t>(entries());
  header.moves = moves_;
  header.paths = static_cast<std::uint32_t>(paths_.size());
  header.strings = strings_.size();
  return header;
}

Result<> IndexWriter::Finish(int file) {
  format::Header header = Head();
  const std::uint64_t body = directories_.size() * sizeof(format::DirectoryRecord) +
                             entries_.size() + move_records_.size() + strings_.size();
  const std::uint64_t blocks = (body + format::kBlock - 1) / format::kBlock;
  const std::uint64_t body_at = sizeof header + layers_.size() * sizeof(format::LayerRecord) +
                                paths_.size() + blocks * sizeof(std::uint64_t);

  Blocks written(files_, file, body_at);
  const auto add = [&](std::string_view bytes) { return written.Add(bytes); };
  for (const format::DirectoryRecord& directory : directories_) STRATA_TRY(add(BytesOf(directory)));
  for (const Spool* section : {&entries_, &move_records_, &strings_}) {
    STRATA_TRY(section->Read(add));
  }
  STRATA_TRY(written.Write());

  std::string head(BytesOf(header));
  for (const format::LayerRecord& layer : layers_) head += BytesOf(layer);
  head += paths_;
  head += written.sums();
  header.checksum = XXH3_64bits(head.data(), head.size());
  head.replace(0, sizeof header, BytesOf(header));
  return WriteAllAt(files_, file, std::as_bytes(std::span(head)), 0);
}

}  // namespace strata::layerstore
