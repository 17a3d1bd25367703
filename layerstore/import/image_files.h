// The files of an image archive or layout by name, wherever they lie. Private to this folder.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/file_ops.h"
#include "base/unique_fd.h"
#include "layerstore/archive/tar_reader.h"
#include "layerstore/archive/unpack_options.h"
#include "layerstore/staging/store_root.h"

namespace strata::layerstore {

// Read from a file or decompressed at a time.
inline constexpr std::size_t kImportChunk = std::size_t{256} * 1024;

// Names are relative, with '/' between components, and come from untrusted JSON. Thread-safe.
class ImageFiles {
 public:
  virtual ~ImageFiles() = default;

  // For reading, a regular file; ENOENT.
  virtual Result<UniqueFd> Open(const std::string& name) = 0;

  // The whole of a small file; EFBIG above `limit`.
  Result<std::string> Read(const std::string& name, std::size_t limit);
  Result<bool> Has(const std::string& name);
  // All of a file, piece by piece.
  Result<> Stream(const std::string& name, const std::function<Result<>(std::string_view)>& take);

 protected:
  explicit ImageFiles(FileOps& ops) : ops_(ops) {}
  FileOps& ops_;
};

// A directory; links may point anywhere within it.
class DirectoryFiles final : public ImageFiles {
 public:
  DirectoryFiles(FileOps& ops, UniqueFd dir) : ImageFiles(ops), dir_(std::move(dir)) {}
  Result<UniqueFd> Open(const std::string& name) override;

 private:
  UniqueFd dir_;
};

// The members of a tar, spooled to the store's staging directory because an archive's table of
// contents may stand at its end.
class SpooledFiles final : public ImageFiles {
 public:
  // Reads the archive to its end; E2BIG beyond `limits`.
  static Result<std::unique_ptr<SpooledFiles>> Spool(StoreRoot& root, TarReader& reader,
                                                     const UnpackLimits& limits);
  Result<UniqueFd> Open(const std::string& name) override;

 private:
  SpooledFiles(StoreRoot& root, StagedName staged, UniqueFd dir)
      : ImageFiles(root.ops()), staged_(std::move(staged)), dir_(std::move(dir)) {}
  Result<> AddMember(TarReader& reader, const UnpackLimits& limits);
  Result<> WriteMember(TarReader& reader, const std::string& file);

  // What the tables of members take in memory.
  Result<> CountNames(const std::string& name, const std::string& target,
                      const UnpackLimits& limits);

  StagedName staged_;
  UniqueFd dir_;
  std::map<std::string, std::string> files_;  // member -> name in dir_
  std::map<std::string, std::string> links_;  // member -> member it stands for
  std::uint64_t members_ = 0;
  std::uint64_t name_bytes_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace strata::layerstore
