// Puts an index file together in memory.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "layerstore/index/format.h"
#include "layerstore/index/metadata_index.h"

namespace strata::layerstore {

// Directories are filled one by one, parents before what is in them, each once. Not thread-safe.
class IndexWriter {
 public:
  IndexWriter(MetadataIndex::Kind kind, bool user_marks);

  // Base first.
  void AddLayer(const MetadataIndex::Layer& layer);
  // The root's own entry; first of all.
  Result<> AddRoot(const MetadataIndex::Entry& root);
  // What is in a directory, sorted by name; gives the directories among it their numbers. Whiteouts
  // have no name below them. E2BIG for more than the format holds.
  Result<> Fill(MetadataIndex::Directory directory, std::span<MetadataIndex::Entry> entries,
                std::span<const MetadataIndex::Place> moves = {});

  // Layer index: nothing of the layers below shows in the directory.
  void MarkOpaque(MetadataIndex::Directory directory);

  // What is known of a file only once all of them were seen.
  void SetLinks(MetadataIndex::Number number, std::uint32_t links,
                std::optional<std::uint32_t> identity);

  // How many there are; the number the next one gets.
  std::size_t entries() const { return entries_.size(); }
  // The file's bytes. Nothing may be added afterwards.
  std::string Finish();

 private:
  Result<> Add(MetadataIndex::Entry& entry, std::uint32_t parent);
  Result<std::uint32_t> AddString(std::string_view text);

  const MetadataIndex::Kind kind_;
  const bool user_marks_;
  std::vector<format::LayerRecord> layers_;
  std::string paths_;
  std::vector<format::DirectoryRecord> directories_;
  std::vector<format::EntryRecord> entries_;
  std::vector<format::MoveRecord> moves_;
  std::string strings_;
};

}  // namespace strata::layerstore
