// The layers of an image as the store keeps them: directories that are opened when a file of theirs
// is, and one index that answers for all their names and attributes.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file_ops.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "layerstore/index/metadata_index.h"

namespace strata::fusefs {

// Thread-safe.
class ChainLayers {
 public:
  // `directory` holds the file "index" (docs/formats/index.md). ESTALE if a layer directory is not
  // the indexed one any more; EBADMSG or EPROTONOSUPPORT for an index that is of no use; EINVAL if
  // its marks are trusted.overlay.* and this process reads user.overlay.* (`needs_user_marks`).
  static Result<std::unique_ptr<ChainLayers>> Open(const std::string& directory,
                                                   bool needs_user_marks, FileOps& files);

  const layerstore::MetadataIndex& index() const { return *index_; }
  // Layers are counted as in the index: 0 is the base.
  std::size_t size() const { return devices_.size(); }
  dev_t device(std::size_t layer) const { return devices_[layer]; }
  // Absolute, without symbolic links.
  Result<std::vector<std::string>> RealPaths() const;
  // A layer's root, read-only and open for reading. Kept open, though not for ever.
  Result<SharedFd> Root(std::size_t layer);

 private:
  ChainLayers(FileOps& files, std::shared_ptr<const layerstore::MetadataIndex> index)
      : files_(files), index_(std::move(index)) {}
  Result<> OpenBase(const std::string& directory);
  Result<> CheckLayers();
  // What leads to a layer from base_ (or from the root, if absolute).
  std::string_view PathFromBase(std::size_t layer) const;

  FileOps& files_;
  const std::shared_ptr<const layerstore::MetadataIndex> index_;
  // Relative paths begin with some number of "..", the same for all: what those lead to. The
  // index's own directory may go away while it is in use, this one may not.
  UniqueFd base_;
  std::size_t base_length_ = 0;
  std::vector<dev_t> devices_;

  Mutex mu_;  // docs/locking.md: leaf
  std::vector<SharedFd> roots_ STRATA_GUARDED_BY(mu_);
  std::deque<std::size_t> opened_ STRATA_GUARDED_BY(mu_);  // oldest first
};

}  // namespace strata::fusefs
