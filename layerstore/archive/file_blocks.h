// The content of one file of an archive.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "layerstore/archive/tar_reader.h"

namespace strata::layerstore {

// Gives the blocks of the reader's entry in their order, none overlapping another, none beyond the
// size that the entry says (EBADMSG). One use.
class FileBlocks {
 public:
  explicit FileBlocks(TarReader& reader) : reader_(reader) {}

  // Reads the content's beginning, at least `bytes` of it unless a hole or the end comes before,
  // into `buffer`; it is the first block then. Before any Next().
  Result<> ReadStart(std::size_t bytes, std::string& buffer);
  // The next block; nothing at the end. Its data is valid until the next call.
  Result<std::optional<TarReader::Block>> Next();

  // Where the last block ended.
  std::int64_t end() const { return end_; }
  // No hole so far.
  bool gapless() const { return gapless_; }

 private:
  TarReader& reader_;
  std::string_view start_;
  std::optional<TarReader::Block> ahead_;
  std::int64_t end_ = 0;
  bool gapless_ = true;
};

}  // namespace strata::layerstore
