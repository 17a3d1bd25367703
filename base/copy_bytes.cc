#include "base/copy_bytes.h"

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "base/try.h"

namespace strata {

Result<off_t> CopyBytes(FileOps& ops, int from, int to, off_t begin, off_t end) {
  constexpr std::size_t kChunk = std::size_t{1} << 20U;
  if (begin >= end) return begin;
  std::vector<std::byte> buffer(std::min(kChunk, static_cast<std::size_t>(end - begin)));
  while (begin < end) {
    const std::size_t wanted = std::min(buffer.size(), static_cast<std::size_t>(end - begin));
    STRATA_TRY_ASSIGN(const std::size_t got,
                      ops.ReadAt(from, std::span(buffer).first(wanted), begin));
    if (got == 0) break;
    STRATA_TRY(WriteAllAt(ops, to, std::span(buffer).first(got), begin));
    begin += static_cast<off_t>(got);
  }
  return begin;
}

}  // namespace strata
