// The members of an image archive: files and directories of nobody and no time, so that the bytes
// of an archive depend on nothing but what is in it. Private to this folder.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "layerstore/archive/tar_writer.h"

namespace strata::layerstore {

// Not thread-safe.
class ArchiveMembers {
 public:
  explicit ArchiveMembers(TarWriter::Sink sink) : tar_(std::move(sink)) {}

  Result<> AddDirectory(const std::string& path);
  Result<> AddFile(const std::string& path, std::string_view content);
  // `feed` gives just `size` bytes.
  Result<> AddFile(const std::string& path, std::uint64_t size,
                   const std::function<Result<>(const TarWriter::Sink&)>& feed);
  Result<> AddSymlink(const std::string& path, const std::string& target);
  Result<> Finish() { return tar_.Finish(); }

 private:
  TarWriter tar_;
};

}  // namespace strata::layerstore
