// Fills the reply to READDIR and READDIRPLUS.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "fusefs/union/types.h"

struct fuse_req;

namespace strata::fusefs {

// Collects entries in the kernel's format up to the size the kernel gave. Lives for one request.
class DirectoryStream {
 public:
  DirectoryStream(fuse_req* request, std::size_t size, bool attributes);

  // False, and nothing added, if the entry does not fit.
  bool Add(const ListedEntry& entry);

  std::span<const std::byte> bytes() const { return buffer_.first(used_); }
  // The nodes whose lookups the kernel takes over with the reply.
  std::span<const NodeId> nodes() const { return nodes_; }

 private:
  fuse_req* request_;
  bool attributes_;
  std::span<std::byte> buffer_;  // the calling thread's
  std::size_t used_ = 0;
  std::vector<NodeId>& nodes_;  // the calling thread's, to keep its memory
};

}  // namespace strata::fusefs
