// Puts an index file together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/file_ops.h"
#include "layerstore/index/format.h"
#include "layerstore/index/metadata_index.h"
#include "layerstore/index/spool.h"

namespace strata::layerstore {

// Where an index is written: a file that is open for writing and empty, and a directory for files
// without names on the way there. Both are borrowed.
struct IndexFile {
  int file = -1;
  int scratch = -1;
};

// Directories are filled one by one, parents before what is in them, each once. Memory does not
// grow with the number of entries but by the directories' 24 bytes. Not thread-safe.
class IndexWriter {
 public:
  IndexWriter(FileOps& files, int scratch, MetadataIndex::Kind kind, bool user_marks);

  // Base first.
  void AddLayer(const MetadataIndex::Layer& layer);
  // The root's own entry; first of all.
  Result<> AddRoot(const MetadataIndex::Entry& root);
  // What is added from here on is in that directory.
  void Begin(MetadataIndex::Directory directory);
  // In the order of names; gives the entry its number, and a directory its own. Whiteouts have no
  // name below them. E2BIG for more than the format holds.
  Result<> Add(MetadataIndex::Entry& entry);
  Result<> End(std::span<const MetadataIndex::Place> moves = {});

  // What is known of an entry only after it was added.
  // Layer index: nothing of the layers below shows in the directory.
  Result<> MarkOpaque(MetadataIndex::Directory directory);
  Result<> SetLinks(MetadataIndex::Number number, std::uint32_t links,
                    std::optional<std::uint32_t> identity);

  // How many there are; the number the next one gets.
  std::size_t entries() const { return entries_.size() / sizeof(format::EntryRecord); }
  // Writes the file. Nothing may be added afterwards.
  Result<> Finish(int file);

 private:
  Result<> Append(MetadataIndex::Entry& entry, std::uint32_t parent);
  Result<std::uint32_t> AddString(std::string_view text);
  Result<format::EntryRecord> Load(MetadataIndex::Number number) const;
  Result<> Store(MetadataIndex::Number number, const format::EntryRecord& record);
  format::Header Head() const;

  FileOps& files_;
  const MetadataIndex::Kind kind_;
  const bool user_marks_;
  std::vector<format::LayerRecord> layers_;
  std::string paths_;
  MetadataIndex::Directory current_ = MetadataIndex::kRoot;
  std::deque<format::DirectoryRecord> directories_;
  std::uint32_t moves_ = 0;
  Spool entries_;
  Spool move_records_;
  Spool strings_;
};

}  // namespace strata::layerstore
