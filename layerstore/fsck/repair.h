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
  std::string what;  // one line: "layer sha256:… was mended from blob sha256:…"
};

// Takes the findings of one check. A damaged layer is unpacked beside itself, from a kept blob or
// from its own files where all their bytes are right, and what is wrong is mended in place, file by
// file: containers that run on it, and layers that share its files, go on with them. If that can
// not be, it is put aside under quarantine/ and fetched. A damaged blob is put aside and no longer
// counted as kept. Damaged indexes are removed: they are made again when they are needed. What is
// not the store's is put aside. Garbage is left to the collection. Nothing that is the only copy is
// deleted: stopped at any point, all that was there is in its place, mended, or in quarantine. The
// store must be open for writing.
Result<std::vector<RepairStep>> Repair(Store& store, const std::vector<Finding>& findings,
                                       const RepairOptions& options = {});

}  // namespace strata::layerstore
