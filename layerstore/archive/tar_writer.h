// Writes a tar stream whose bytes depend on nothing but the entries: what one layer's files are
// made into twice has one digest.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "layerstore/archive/tar_reader.h"

namespace strata::layerstore {

// POSIX ustar, with one pax header where that does not hold an entry: long or empty names, large
// numbers, fractions of seconds, times before 1970, xattrs (SCHILY.xattr, as Docker and libarchive
// write them; ACLs are xattrs here; LIBARCHIVE.xattr for empty values). No names of users, no
// atime, no ctime. Not thread-safe.
class TarWriter {
 public:
  using Sink = std::function<Result<>(std::string_view)>;
  explicit TarWriter(Sink sink) : sink_(std::move(sink)) {}

  // The header of the next entry. The content of a file, all `entry.size` bytes of it, has to
  // follow. EINVAL for what tar cannot say: a negative size, an empty path, a NUL in a name.
  Result<> Add(const TarEntry& entry);
  // The next bytes of it; EINVAL if they are too many.
  Result<> Write(std::string_view content);
  // The archive's end. EINVAL if content is missing.
  Result<> Finish();

 private:
  Result<> CheckComplete() const;
  Result<> WritePadded(std::string_view content);

  Sink sink_;
  std::uint64_t left_ = 0;  // of the current file's content
  std::size_t padding_ = 0;
};

}  // namespace strata::layerstore
