// Which inodes of a layer there is something to say about.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace strata::layerstore {

// Filled first, then asked. Memory is bounded: it knows nothing once there were too many.
class InodeSet {
 public:
  void Add(ino_t inode) {
    if (overflowed_ || (!inodes_.empty() && inodes_.back() == inode)) return;
    inodes_.push_back(inode);
    if (inodes_.size() <= kMax) return;
    overflowed_ = true;
    inodes_ = {};
  }
  // Nothing is added from here on.
  void Seal() {
    std::ranges::sort(inodes_);
    const auto twice = std::ranges::unique(inodes_);
    inodes_.erase(twice.begin(), twice.end());
  }
  // After Seal(), unless it overflowed.
  bool Contains(ino_t inode) const { return std::ranges::binary_search(inodes_, inode); }
  bool overflowed() const { return overflowed_; }

 private:
  static constexpr std::size_t kMax = std::size_t{1} << 19U;

  std::vector<ino_t> inodes_;
  bool overflowed_ = false;
};

// What the unpacker of a layer knows of its files and their directory does not tell.
struct UnpackedInodes {
  InodeSet linked;       // names that entries of the archive made links of each other
  InodeSet with_xattrs;  // those the archive gave some, ACLs and opaque marks included
};

}  // namespace strata::layerstore
