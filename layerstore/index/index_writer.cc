#include "layerstore/index/index_writer.h"

#include <xxhash.h>

#include <limits>

#include "base/try.h"

namespace strata::layerstore {
namespace {

constexpr std::size_t kMaxEntries = std::size_t{1} << 31U;

template <class Record>
void Append(std::string& bytes, const std::vector<Record>& records) {
  bytes.append(reinterpret_cast<const char*>(records.data()), records.size() * sizeof(Record));
}

std::uint16_t Flags(const MetadataIndex::Entry& entry) {
  unsigned flags = 0;
  if (entry.whiteout) flags |= format::kWhiteout;
  if (entry.opaque) flags |= format::kOpaque;
  if (entry.alone) flags |= format::kAlone;
  if (entry.has_xattrs) flags |= format::kHasXattrs;
  if (entry.merged) flags |= format::kMerged;
  if (entry.metacopy) flags |= format::kMetacopy;
  return static_cast<std::uint16_t>(flags);
}

std::uint32_t Nanoseconds(const struct timespec& time) {
  return static_cast<std::uint32_t>(time.tv_nsec);
}

}  // namespace

IndexWriter::IndexWriter(MetadataIndex::Kind kind, bool user_marks)
    : kind_(kind), user_marks_(user_marks) {}

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
  strings_.append(text);
  return at;
}

Result<> IndexWriter::Add(MetadataIndex::Entry& entry, std::uint32_t parent) {
  if (entries_.size() == kMaxEntries) return Fail(E2BIG, "index", "too many entries");
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
  entry.number = static_cast<MetadataIndex::Number>(entries_.size());
  if (S_ISDIR(st.st_mode)) {
    entry.directory = static_cast<MetadataIndex::Directory>(directories_.size());
    record.directory = *entry.directory;
    format::DirectoryRecord directory;
    directory.entry = entry.number;
    directory.parent = parent;
    directories_.push_back(directory);
  }
  entries_.push_back(record);
  return {};
}

Result<> IndexWriter::AddRoot(const MetadataIndex::Entry& root) {
  MetadataIndex::Entry entry = root;
  entry.name = {};
  return Add(entry, format::kNone);
}

Result<> IndexWriter::Fill(MetadataIndex::Directory directory,
                           std::span<MetadataIndex::Entry> entries,
                           std::span<const MetadataIndex::Place> moves) {
  const auto first = static_cast<std::uint32_t>(entries_.size());
  for (MetadataIndex::Entry& entry : entries) STRATA_TRY(Add(entry, directory));
  format::DirectoryRecord& record = directories_[directory];
  record.first = first;
  record.count = static_cast<std::uint32_t>(entries.size());
  record.first_move = static_cast<std::uint32_t>(moves_.size());
  record.moves = static_cast<std::uint32_t>(moves.size());
  for (const MetadataIndex::Place& place : moves) {
    format::MoveRecord move;
    move.first = place.first;
    move.last = place.last;
    STRATA_TRY_ASSIGN(move.path_at, AddString(place.path));
    move.path_length = static_cast<std::uint32_t>(place.path.size());
    moves_.push_back(move);
  }
  return {};
}

void IndexWriter::MarkOpaque(MetadataIndex::Directory directory) {
  format::EntryRecord& entry = entries_[directories_[directory].entry];
  entry.flags = static_cast<std::uint16_t>(entry.flags | format::kOpaque);
}

void IndexWriter::SetLinks(MetadataIndex::Number number, std::uint32_t links,
                           std::optional<std::uint32_t> identity) {
  entries_[number].nlink = links;
  entries_[number].identity = identity.value_or(format::kNone);
}

std::string IndexWriter::Finish() {
  std::string body;
  body.reserve(directories_.size() * sizeof(format::DirectoryRecord) +
               entries_.size() * sizeof(format::EntryRecord) + strings_.size());
  Append(body, directories_);
  Append(body, entries_);
  Append(body, moves_);
  body += strings_;

  std::vector<format::Little<std::uint64_t>> sums;
  for (std::size_t at = 0; at < body.size(); at += format::kBlock) {
    const std::string_view block = std::string_view(body).substr(at, format::kBlock);
    sums.emplace_back(XXH3_64bits(block.data(), block.size()));
  }
  format::Header header;
  header.magic = format::kMagic;
  header.version = format::kVersion;
  header.kind = kind_ == MetadataIndex::Kind::kLayer ? format::kLayer : format::kChain;
  header.flags = user_marks_ ? std::uint32_t{format::kUserMarks} : 0U;
  header.layers = static_cast<std::uint32_t>(layers_.size());
  header.directories = static_cast<std::uint32_t>(directories_.size());
  header.entries = static_cast<std::uint32_t>(entries_.size());
  header.moves = static_cast<std::uint32_t>(moves_.size());
  header.paths = static_cast<std::uint32_t>(paths_.size());
  header.strings = strings_.size();

  std::string file(reinterpret_cast<const char*>(&header), sizeof header);
  Append(file, layers_);
  file += paths_;
  Append(file, sums);
  header.checksum = XXH3_64bits(file.data(), file.size());
  file.replace(0, sizeof header, reinterpret_cast<const char*>(&header), sizeof header);
  file += body;
  return file;
}

}  // namespace strata::layerstore
