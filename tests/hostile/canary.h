// What stands beside a store and must stay as it is, whatever comes into the store.
#pragma once

#include <string>

#include "layerstore/store/store.h"
#include "tests/support/tree_snapshot.h"

namespace strata::hostile {

// All functions throw when they fail, see must.h.
class Canary {
 public:
  // Makes DIRECTORY/canary, beside which the store must lie.
  explicit Canary(const std::string& directory);

  const std::string& path() const { return path_; }
  // Empty, or what is wrong: the canary was touched, or there are files where some layers wanted
  // them.
  std::string Harm() const;

 private:
  std::string path_;
  support::TreeSnapshot before_;
};

// Empty, or what a refused image has left: rows, layers, blobs, staging, findings of a deep check.
std::string Leftovers(layerstore::Store& store);
// Only what a deep check finds.
std::string Findings(layerstore::Store& store);

// The most memory this process used since the last call, above what it used then; in bytes. 0 under
// a sanitizer, which multiplies it.
class MemoryPeak {
 public:
  MemoryPeak();
  std::uint64_t Growth() const;

 private:
  std::uint64_t before_;
};

}  // namespace strata::hostile
