// Mends what a check of a store finds.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "layerstore/fsck/finding.h"

namespace strata::layerstore {

class Store;

struct RepairOptions {
  // Brings a layer that is not in the store any more from elsewhere, as by pulling an image that
  // has it. Fails where nobody has it; may be null.
  std::function<Result<>(const Digest& diff_id)> fetch = nullptr;
};

// What became of one thing that was damaged.
struct RepairStep {
  bool mended = false;
  std::string what;  // one line: "layer sha256:… was unpacked again from blob sha256:…"
};

// Takes the findings of one check. A damaged layer is unpacked again from a kept blob, else made
// again from its own files where all their bytes are right, else fetched; its damaged directory is
// first put aside under quarantine/ and goes only when the new one is in place, so no only copy is
// ever deleted. A damaged blob is put aside and no longer counted as kept. Damaged indexes are
// removed: they are made again when they are needed. What is not the store's is put aside. Garbage
// is left to the collection. Stopped at any point, all that was there is in its place or in
// quarantine. The store must be open for writing.
Result<std::vector<RepairStep>> Repair(Store& store, const std::vector<Finding>& findings,
                                       const RepairOptions& options = {});

}  // namespace strata::layerstore
