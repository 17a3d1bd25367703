// What a store takes on the disk, without those below it, from sums that are kept up to date: no
// file is looked at.
#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>

#include "base/digest.h"
#include "base/error.h"

namespace strata::layerstore {

class Store;

// Bytes, in whole blocks of 4 KiB where files are meant (RoomOf). Of layers that an earlier program
// unpacked, the bytes of their files.
struct StoreUsage {
  std::uint64_t layers = 0;    // how many
  std::uint64_t content = 0;   // bytes of their files, each layer for itself
  std::uint64_t unused = 0;    // of those, the bytes of layers that no user of an image needs
  std::uint64_t logical = 0;   // what they would take if no file were shared
  std::uint64_t physical = 0;  // what they take
  std::uint64_t blobs = 0;     // of compressed forms that are kept

  std::uint64_t shared() const { return logical - physical; }
};

// After a crash the sums may be off until the next start has looked at what it left. Thread-safe.
Result<StoreUsage> MeasureStore(Store& store);
// Bytes of files of each layer, by its diffID, below or not.
Result<std::unordered_map<Digest, std::uint64_t>> LayerSizes(Store& store);
// Bytes of files in those layers of each image that other images have, too, below or not.
Result<std::map<Digest, std::uint64_t>> SharedSizes(Store& store);

}  // namespace strata::layerstore
