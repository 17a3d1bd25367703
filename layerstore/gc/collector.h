// Garbage collection. Garbage is a layer that no image refers to and no lease pins, and a blob
// whose layer is garbage or unknown and that no lease pins. Mark and sweep happen in one write
// transaction of meta.db, which is what keeps a concurrent pull out: it pins before it looks.
// Files whose name is no digest are left alone: they are an operator's, or a later format's.
// Stores below are not looked at but for the chains of their images, whose indexes stay.
// Swept directories move into trash/ and are deleted afterwards, outside of any lock.
#pragma once

#include <cstdint>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "layerstore/meta/image_store.h"
#include "layerstore/oci/reference.h"

namespace strata::layerstore {

class Store;

struct PruneOptions {
  PrunePolicy images = {};
  bool dry_run = false;  // only tell what would be removed
};

struct PruneReport {
  std::vector<Reference> untagged;
  std::vector<Digest> images;
  std::vector<Digest> layers;  // unfinished ones among them
  std::vector<Digest> blobs;
  // Bytes of the disk that what is removed takes, in whole blocks: files that other layers have,
  // too, do not count. Not known of layers that were never finished.
  std::uint64_t reclaimed = 0;
};

// Removes unused images and all garbage, at once or not at all. Images with users stay.
Result<PruneReport> Prune(Store& store, const PruneOptions& options);
// Removes garbage only; call it after images were removed.
Result<PruneReport> Collect(Store& store, bool dry_run = false);

}  // namespace strata::layerstore
