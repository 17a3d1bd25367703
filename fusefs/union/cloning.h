// Sharing blocks between a lower file and its copy.
#pragma once

#include <sys/types.h>

#include <vector>

#include "base/file_ops.h"
#include "base/mutex.h"

namespace strata::fusefs {

// Clones files of lower layers, and remembers with which of their filesystems the upper one shares
// no blocks: one of many layers being elsewhere says nothing about the others. Thread-safe.
class Cloning {
 public:
  explicit Cloning(FileOps& files) : files_(files) {}

  // Gives the empty `to` the whole content of `from`, of `size` bytes, without copying it. False if
  // it has to be copied, which is cheaper anyway for small files; `to` is still empty then.
  bool Try(int from, int to, off_t size);

 private:
  bool Hopeless(dev_t device) const;

  FileOps& files_;
  mutable Mutex mu_;                                    // rank 82
  std::vector<dev_t> hopeless_ STRATA_GUARDED_BY(mu_);  // as many as there are layers, at the most
};

}  // namespace strata::fusefs
