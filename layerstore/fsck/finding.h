// What a check of a store finds.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/digest.h"

namespace strata::layerstore {

enum class FindingKind : std::uint8_t {
  // Of the store as a whole.
  kBadDatabase,  // meta.db is damaged
  kOpenRoot,     // others than the owner may enter the store
  kStray,        // a file that is not the store's
  // Of rows.
  kBadConfig,     // an image's configuration, manifest or index is not what its digest says
  kDanglingRow,   // a row names what is not there
  kLostRow,       // a layer that had a row has none: the database is not what it was
  kMissingLayer,  // an image or user needs a layer that is not in the store, or has no directory
  kMissingStore,  // the same for a layer that was in a store below, which is not there now
  kMissingBlob,   // the bytes of a blob that should be kept are gone
  kBlobSize,
  kBlobDigest,
  // Of a layer.
  kBadRecipe,
  kBadObjectList,  // which of its files are objects is not known
  kBadIndex,       // of a layer or a chain
  kMissingEntry,   // the tar has it, the directory has not
  kExtraEntry,     // the reverse
  kWrongType,
  kWrongMode,
  kWrongOwner,
  kWrongTime,
  kWrongSize,
  kWrongXattr,
  kWrongLink,  // a symbolic link's target, a device's number, a hard link that is none
  kUnguarded,  // the layer was made with fs-verity, this file has none
  kContent,    // bit rot: a file's bytes are not those that were unpacked
  kUnreadable,
  // No damage.
  kGarbage,      // what a crash or an earlier removal left; the next collection takes it
  kQuarantined,  // a damaged copy that a repair put aside
  kNoRecipe,     // a layer of an earlier program, of which no more than its index can be checked
};

// "missing-layer": for people and scripts.
std::string_view FindingName(FindingKind kind);
// Whether a store with it is still clean.
bool Harmless(FindingKind kind);

struct Finding {
  FindingKind kind = FindingKind::kStray;
  std::optional<Digest> layer;  // its diffID
  std::optional<Digest> blob;
  std::string path;    // in the layer if there is one, else in the store; as it is, any bytes
  std::string detail;  // one line: what was expected and what is there

  // "layer sha256:… 'usr/bin/env': wrong-mode: 0777, expected 0755"
  std::string ToString() const;
};

using FindingSink = std::function<void(Finding)>;

}  // namespace strata::layerstore
