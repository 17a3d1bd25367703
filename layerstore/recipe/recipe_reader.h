// Reads a layer's recipe, record by record.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "base/file_ops.h"
#include "base/xxh128.h"

namespace strata::layerstore {

// The next bytes of the tar.
struct RecipeRecord {
  enum class Kind : std::uint8_t {
    kLiteral,  // `literal` itself
    kContent,  // the whole of `file`: one extent from 0 on
    kExtents,  // parts of `file`, one after the other
  };
  struct Extent {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };

  Kind kind = Kind::kLiteral;
  std::string_view literal;  // valid until the next record is read
  std::string path;          // in the tar, normalised
  std::string file;          // below the layer's directory: fs/... or replaced/...
  std::vector<Extent> extents;
  Xxh128 checksum;  // of the extents' bytes
};

// Memory grows with the number of replaced entries only, which the writer bounds. Not thread-safe.
class RecipeReader {
 public:
  // `layer_dir` is borrowed until the return. ENOENT: the layer has none (it is older than recipes,
  // or was never finished). EBADMSG: damaged; all of the file was looked at then.
  // EPROTONOSUPPORT: of a later version.
  static Result<std::unique_ptr<RecipeReader>> Open(FileOps& ops, int layer_dir);
  // How many bytes the tar has; of the file, only its header is looked at. Errors as Open().
  static Result<std::uint64_t> TarBytesOf(FileOps& ops, int layer_dir);
  ~RecipeReader();

  const Digest& diff_id() const { return diff_id_; }
  std::uint64_t tar_bytes() const { return tar_bytes_; }

  // Back to before the first record. The file is not looked at as a whole again.
  Result<> Rewind();
  // Moves to the next record; false at the end.
  Result<bool> Next();
  const RecipeRecord& record() const { return record_; }

 private:
  class Stream;
  class Replaced;

  RecipeReader();

  Result<> LoadReplaced();
  Result<bool> ReadRecord();
  Result<> ReadLiteral();
  Result<> ReadPath();
  Result<> ReadWhole();
  Result<> ReadExtents();
  Result<> ReadChecksum();
  Result<> CountTarBytes(std::uint64_t bytes);

  Digest diff_id_;
  std::uint64_t tar_bytes_ = 0;
  std::uint64_t records_ = 0;  // in the file
  std::uint64_t read_ = 0;     // of them
  std::uint64_t left_ = 0;     // of tar_bytes_
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Replaced> replaced_;
  bool is_replaced_ = false;  // the record just read tells of a replaced entry: `path`, number_
  std::uint64_t number_ = 0;
  RecipeRecord record_;
};

}  // namespace strata::layerstore
