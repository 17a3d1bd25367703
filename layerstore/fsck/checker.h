// Checks a store from end to end: rows against each other, rows against files, files against what
// they were when they came. Of stores below no more than whether they have the layers needed here.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "layerstore/fsck/finding.h"

namespace strata::layerstore {

class Store;

struct CheckOptions {
  enum class Depth : std::uint8_t {
    kQuick,   // rows, names and sizes of blobs, no layer from inside
    kNormal,  // and every name in every layer with its attributes
    kDeep,    // and every byte of layers, blobs and indexes
  } depth = Depth::kNormal;
  // Further stores below that may have layers which images need, besides those that the store was
  // opened with and those where it saw such layers before.
  std::vector<std::string> additional = {};
  // kDeep: told of the bytes that were read; may wait, and end the check by failing. With it the
  // check has one thread.
  std::function<Result<>(std::uint64_t bytes)> pace = nullptr;
  // CheckStore(): of the layers, those after this one only, for a check that was cut off. Layers
  // come in the order of their digests.
  std::optional<Digest> after = std::nullopt;
  // CheckStore(): told when a layer's findings have been, with the number of all layers.
  std::function<void(const Digest& layer, std::uint64_t total)> layer_done = nullptr;
};

struct CheckSummary {
  std::uint64_t images = 0;
  std::uint64_t layers = 0;
  std::uint64_t blobs = 0;
  std::uint64_t chains = 0;
};

// May run beside everything else, in any process, and on a store opened read-only: what is removed
// meanwhile is no finding. Writes nothing. Findings come in no particular order, one at a time, in
// any thread. Errors are those that say nothing about the store (EMFILE, ENOMEM, `pace`'s).
Result<CheckSummary> CheckStore(Store& store, const CheckOptions& options,
                                const FindingSink& found);

// One layer that has a row, with its index.
Result<> CheckLayer(Store& store, const Digest& diff_id, const CheckOptions& options,
                    const FindingSink& found);

}  // namespace strata::layerstore
