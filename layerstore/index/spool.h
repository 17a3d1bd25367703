// Bytes on their way into a file, of which nobody knows yet where in it they will stand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/file_ops.h"

namespace strata::layerstore {

// In memory while they are few, then in a file without a name. Not thread-safe.
class Spool {
 public:
  // The file would be made in `directory`, which is borrowed.
  Spool(FileOps& files, int directory) : files_(files), directory_(directory) {}

  std::uint64_t size() const { return on_disk_ + tail_.size(); }
  Result<> Append(std::string_view bytes);
  // What stands at `at`, and other bytes in its place: a piece that was appended as one, or a part
  // of one.
  Result<> Load(std::uint64_t at, std::span<std::byte> bytes) const;
  Result<> Store(std::uint64_t at, std::span<const std::byte> bytes);
  // Gives all of them to `take`, in order.
  Result<> Read(const std::function<Result<>(std::string_view)>& take) const;

 private:
  Result<> WriteTail();

  FileOps& files_;
  const int directory_;
  UniqueFd file_;
  std::uint64_t on_disk_ = 0;
  std::string tail_;
};

}  // namespace strata::layerstore
