// Leases: what an unfinished operation needs is kept from garbage collection.
#pragma once

#include <cstdint>
#include <memory>

#include "base/digest.h"
#include "base/error.h"

namespace strata::layerstore {

class Database;

// Holds blobs and layers of one operation (a pull, an import, a build) until an image refers to
// them. Ends with its destruction; when its process dies, the next collection drops it. Movable;
// thread-safe: the threads of one operation share one.
//
// Pin first, then check: whatever exists after its pin stays for the lease's life.
class Lease {
 public:
  // `owner` names the process's staging directory, whose lock tells whether it lives. Empty for a
  // read-only store: nothing can be pinned in it, and what its writer removes is missing then.
  static Result<Lease> Create(std::shared_ptr<Database> database, const std::string& owner);
  Lease(Lease&& other) noexcept;
  Lease& operator=(Lease&& other) noexcept;
  ~Lease();

  Result<> PinBlob(const Digest& blob);
  Result<> PinLayer(const Digest& diff_id);

 private:
  Lease() = default;  // pins nothing
  Lease(std::shared_ptr<Database> database, std::int64_t id);
  Result<> Pin(const char* kind, const Digest& digest);
  void Drop() noexcept;

  std::shared_ptr<Database> database_;
  std::int64_t id_ = 0;
};

}  // namespace strata::layerstore
