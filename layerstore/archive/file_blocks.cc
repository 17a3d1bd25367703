#include "layerstore/archive/file_blocks.h"

#include <utility>

#include "base/try.h"

namespace strata::layerstore {

Result<> FileBlocks::ReadStart(std::size_t bytes, std::string& buffer) {
  buffer.clear();
  while (buffer.size() < bytes) {
    STRATA_TRY_ASSIGN(ahead_, reader_.ReadBlock());
    if (!ahead_ || ahead_->offset != static_cast<std::int64_t>(buffer.size())) break;
    buffer.append(ahead_->data);
    ahead_.reset();
  }
  start_ = buffer;
  return {};
}

Result<std::optional<TarReader::Block>> FileBlocks::Next() {
  std::optional<TarReader::Block> block;
  if (!start_.empty()) {
    block = TarReader::Block{std::exchange(start_, {}), 0};
  } else if (ahead_) {
    block = std::exchange(ahead_, std::nullopt);
  } else {
    STRATA_TRY_ASSIGN(block, reader_.ReadBlock());
  }
  const std::int64_t size = reader_.entry().size;
  if (!block) {
    gapless_ = gapless_ && end_ == size;
    return block;
  }
  if (block->offset < 0 || block->offset > size ||
      block->data.size() > static_cast<std::uint64_t>(size - block->offset)) {
    return Fail(EBADMSG, "unpack", "content is longer than the entry says");
  }
  if (block->offset < end_) return Fail(EBADMSG, "unpack", "parts of the content overlap");
  gapless_ = gapless_ && block->offset == end_;
  end_ = block->offset + static_cast<std::int64_t>(block->data.size());
  return block;
}

}  // namespace strata::layerstore
