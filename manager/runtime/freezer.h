// Stops the processes of a container for a moment, by its cgroup: what `runc pause` does, without a
// program that takes longer than what is done meanwhile.
// https://docs.kernel.org/admin-guide/cgroup-v1/freezer-subsystem.html
// https://docs.kernel.org/admin-guide/cgroup-v2.html (cgroup.freeze)
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "base/error.h"

namespace strata::manager {

// Thread-compatible value type.
class Freezer {
 public:
  // Of the cgroup that a process is in, and the container with this id has to itself. ENOENT if it
  // has none: then there is the runtime's own way.
  static Result<Freezer> Of(pid_t pid, std::string_view container_id);

  // Returns when none of them runs any more. ETIMEDOUT, with all of them running again.
  Result<> Freeze() const;
  Result<> Thaw() const;

 private:
  Freezer(std::string directory, bool v2) : directory_(std::move(directory)), v2_(v2) {}
  Result<bool> Frozen() const;

  std::string directory_;
  bool v2_;
};

}  // namespace strata::manager
