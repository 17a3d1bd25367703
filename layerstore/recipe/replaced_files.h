// Files of a layer's tar that are not in the layer, since a later entry took their names.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <string>

#include "base/error.h"
#include "base/file_ops.h"
#include "base/unique_fd.h"

namespace strata::layerstore {

// Moves them to "replaced/<number>" of a staged layer's directory, which is made with the first.
// Not thread-safe.
class ReplacedFiles {
 public:
  // Borrows `layer_dir`.
  ReplacedFiles(FileOps& ops, int layer_dir) : ops_(ops), layer_dir_(layer_dir) {}

  // Returns the number given to the file or directory parent/name.
  Result<std::uint64_t> Take(int parent, const char* name);
  // When nothing more comes: files that have a name in the layer, too, are copied, so that the
  // layer's link counts are those of its tar. One file is copied once, however many names it has.
  Result<> Unshare();

 private:
  Result<> UnshareFile(int dir, const std::string& name, const struct stat& st, int copies);
  Result<> Copy(int dir, const std::string& name, off_t size, int copies, const std::string& copy);

  FileOps& ops_;
  const int layer_dir_;
  UniqueFd dir_;
  std::uint64_t count_ = 0;
};

}  // namespace strata::layerstore
