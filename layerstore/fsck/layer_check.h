// Checks one layer's directory against its recipe.
#pragma once

#include <cstdint>
#include <functional>

#include "base/digest.h"
#include "base/error.h"
#include "base/file_ops.h"
#include "base/own_error.h"
#include "layerstore/fsck/finding.h"

namespace strata::layerstore {

struct LayerCheckOptions {
  // Read every file, too.
  bool contents = false;
  // The layer was unpacked with root's rights: owners, devices and all attributes are the tar's.
  bool privileged = true;
  // It came with a recipe. Layers of the first programs did not, and nothing is wrong with that.
  bool needs_recipe = false;
  // Told of the bytes that were read, as often as they are; may wait, and end the check by failing.
  std::function<Result<>(std::uint64_t bytes)> pace = nullptr;
};

// `layer_dir`, not O_PATH, is the directory layers/sha256/<hex>. Every difference between it and
// the tar the layer came from is told to `found`; the error is that of `pace`, or of a call that
// says nothing about the layer (EMFILE, ENOMEM). Memory: 24 bytes for each name.
Result<> CheckLayerDirectory(FileOps& ops, int layer_dir, const Digest& diff_id,
                             const LayerCheckOptions& options, const FindingSink& found);

}  // namespace strata::layerstore
