// What an unpacker tells while it works, for whoever wants to make the archive again from the
// layer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace strata::layerstore {

// Called in the order of the archive's bytes: those of Literal() and Content() together are the
// archive. An error ends the unpacking. Paths are normalised and count from the layer's root.
class UnpackRecorder {
 public:
  virtual ~UnpackRecorder() = default;

  // The next bytes of the archive are in no file.
  virtual Result<> Literal(std::string_view bytes) = 0;
  // They are in the file `path`, which will have `size` bytes, from `offset` on.
  virtual Result<> Content(const std::string& path, std::int64_t size, std::int64_t offset,
                           std::string_view data) = 0;
  // A later entry takes the place of the file, or the directory with files, that stands at `path`,
  // which is parent/name: takes it from there and keeps the contents it was told of.
  virtual Result<> Replace(int parent, const char* name, const std::string& path) = 0;
};

}  // namespace strata::layerstore
