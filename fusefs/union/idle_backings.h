// Backing files that the kernel keeps open for files nobody has open.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/mutex.h"
#include "fusefs/union/node_table.h"

namespace strata::fusefs {

// Opening a file for the kernel, registering it and dropping it again costs more than the rest of
// an open; programs and libraries are opened again and again. Lower files only: an idle one keeps
// its inode, and lower ones go nowhere. The one longest idle is given up first. Thread-safe.
class IdleBackings {
 public:
  explicit IdleBackings(std::size_t capacity) : capacity_(capacity) {}

  // The node's backing id, which is the caller's from now on.
  std::optional<std::int32_t> Take(NodeIndex node);
  // Keeps it. What has to be dropped instead: the oldest, or the node's former one.
  std::optional<std::int32_t> Put(NodeIndex node, std::int32_t id);

 private:
  using Order = std::list<std::pair<NodeIndex, std::int32_t>>;

  const std::size_t capacity_;
  Mutex mu_;                            // docs/locking.md: leaf
  Order order_ STRATA_GUARDED_BY(mu_);  // oldest first
  std::unordered_map<NodeIndex, Order::iterator> by_node_ STRATA_GUARDED_BY(mu_);
};

}  // namespace strata::fusefs
