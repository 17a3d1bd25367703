// Directories of a layer being unpacked, reached without ever leaving it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/file_ops.h"
#include "base/unique_fd.h"

namespace strata::layerstore {

// Opens directories beneath a root by openat2(2), which refuses symbolic links and mount points on
// the way, and keeps the last few open: entries of one directory stand together in a tar. Paths are
// normalised (entry_path.h), "" is the root. Not thread-safe.
class ConfinedTree {
 public:
  // Called where a directory on the way is missing (ENOENT) or something else is there (ENOTDIR):
  // makes it, or gives the error to report.
  using MakeMissing = std::function<Result<>(int parent, const std::string& name,
                                             const std::string& path, int why)>;

  // Borrows `root`.
  ConfinedTree(FileOps& ops, int root) : ops_(ops), root_(root) {}

  // The descriptor, for *at() calls, stays this object's and is valid until the next call.
  // ELOOP: a symbolic link is on the way.
  Result<int> Open(const std::string& path);
  Result<int> OpenOrMake(const std::string& path, const MakeMissing& make_missing);
  // Must be called before the directory is removed: closes it and all below.
  void Forget(std::string_view path);

 private:
  struct Cached {
    std::string path;
    UniqueFd fd;
    std::uint64_t used = 0;
  };

  int* FindCached(const std::string& path);
  Result<int> OpenStep(const std::string& path, const MakeMissing& make_missing);
  int Remember(const std::string& path, UniqueFd fd);

  FileOps& ops_;
  const int root_;
  std::vector<Cached> cache_;
  std::uint64_t clock_ = 0;
  int found_ = -1;
};

}  // namespace strata::layerstore
