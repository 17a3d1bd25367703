// SQLite's own file system calls, made to fail by a FaultPlan: a database does not go through
// FileOps.
#pragma once

#include <memory>

#include "base/error.h"
#include "tests/support/fault_plan.h"

struct sqlite3_vfs;

namespace strata::support {

// While it lives, every database that is opened reaches its files through it. Steps are the calls
// that change something: "xOpen" that may create, "xWrite", "xTruncate", "xSync", "xDelete",
// "xShmMap". Everything else is forwarded to SQLite's own "unix" uncounted. A short xWrite writes
// half of its bytes and then finds the disk full, as unix's does.
//
// One at a time; databases opened while it lives must be closed before it goes. Thread-safe as far
// as SQLite is.
class FaultVfs {
 public:
  // `plan` must outlive it.
  static Result<std::unique_ptr<FaultVfs>> Install(FaultPlan& plan);
  FaultVfs(const FaultVfs&) = delete;
  FaultVfs& operator=(const FaultVfs&) = delete;
  ~FaultVfs();

 private:
  FaultVfs();
  std::unique_ptr<sqlite3_vfs> vfs_;
};

}  // namespace strata::support
