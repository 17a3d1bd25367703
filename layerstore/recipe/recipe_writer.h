// Writes a layer's recipe while the layer is unpacked.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "base/file_ops.h"
#include "base/unique_fd.h"
#include "base/xxh128.h"
#include "layerstore/archive/unpack_options.h"
#include "layerstore/archive/unpack_recorder.h"
#include "layerstore/recipe/replaced_files.h"

namespace strata::layerstore {

// Makes the files "recipe" and, if need be, "replaced/" in a staged layer's directory; they become
// durable and visible with the layer. What it holds in memory does not grow with the layer. Not
// thread-safe.
class RecipeWriter final : public UnpackRecorder {
 public:
  // Borrows `layer_dir`. A reader has to hold the paths of what was replaced: above
  // `limits.kept_bytes` of them Replace() fails with E2BIG.
  static Result<std::unique_ptr<RecipeWriter>> Create(FileOps& ops, int layer_dir,
                                                      const UnpackLimits& limits);
  ~RecipeWriter() override;

  Result<> Literal(std::string_view bytes) override;
  Result<> Content(const std::string& path, std::int64_t size, std::int64_t offset,
                   std::string_view data) override;
  Result<> Replace(int parent, const char* name, const std::string& path) override;

  // After the archive's last byte. Before it, the file is no recipe; afterwards it is closed.
  Result<> Finish(const Digest& diff_id);
  // Contents of the archive that are no files of the layer were kept.
  bool has_replaced() const { return replaced_bytes_ > 0; }

 private:
  struct Extent {
    std::int64_t offset;
    std::int64_t length;
  };
  struct Compressor;

  RecipeWriter(FileOps& ops, int layer_dir, const UnpackLimits& limits);

  Result<> EndLiteral();
  Result<> EndContent();
  void PutKind(std::uint8_t kind);
  void PutNumber(std::uint64_t number);
  void PutPath(std::string_view path);
  void PutChecksum(const Xxh128& checksum);
  // Writes out records when there are enough of them.
  Result<> Flush(bool last);

  FileOps& ops_;
  const UnpackLimits limits_;
  UniqueFd file_;
  std::unique_ptr<Compressor> compressor_;
  ReplacedFiles replaced_files_;
  std::uint64_t replaced_bytes_ = 0;
  std::uint64_t tar_bytes_ = 0;
  std::uint64_t records_count_ = 0;
  std::string records_;    // not compressed yet
  std::string last_path_;  // paths begin with what they share with the one before
  std::string literal_;    // a record to be
  // Another, while data of one file comes: there are extents.
  std::string path_;
  std::int64_t size_ = 0;
  std::vector<Extent> extents_;
  Xxh128Hasher hasher_;
};

}  // namespace strata::layerstore
