// The tar a layer came from, made again from the layer and its recipe.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/digest.h"
#include "base/error.h"
#include "base/file_ops.h"

namespace strata::layerstore {

struct LayerTarOptions {
  enum class Contents : std::uint8_t {
    kRead,   // the files', each compared with the recipe's length and checksum
    kZeros,  // zeros of the right length; no file is opened. For those who want the headers
  };
  Contents contents = Contents::kRead;
  // With kRead: compares the SHA-256 of the whole with the diffID, too.
  bool verify = true;
  // With kRead: told of each file that is not what it was, by its path from the layer's directory;
  // then it goes on with the next, gives other bytes than the tar's and does not fail for that.
  std::function<void(const std::string& path, const Error& error)> damaged = nullptr;
};

// Functions on a layer's directory (layers/sha256/<hex>), borrowed. No path of the recipe is
// trusted: files are opened beneath the directory, through no symbolic link and no mount point.
// They fail with
//   ENOENT           the layer has no recipe: it is older than they are
//   EBADMSG          the recipe or a content is not what it was, with the path; also a missing file
//   EPROTONOSUPPORT  a recipe of a later version
// and with the errors of files and of the sink.
class LayerTar {
 public:
  using Sink = std::function<Result<>(std::string_view bytes)>;

  // Whoever takes the bytes must drop them again when this fails in the end: a damaged content
  // shows only when all of it was given away.
  static Result<> Write(FileOps& ops, int layer_dir, const Sink& sink,
                        const LayerTarOptions& options = {});
  // Whether it would give the tar of this diffID.
  static Result<> Verify(FileOps& ops, int layer_dir, const Digest& diff_id);
};

}  // namespace strata::layerstore
