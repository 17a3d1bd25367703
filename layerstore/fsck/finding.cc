#include "layerstore/fsck/finding.h"

#include "layerstore/archive/entry_path.h"

namespace strata::layerstore {

std::string_view FindingName(FindingKind kind) {
  switch (kind) {
    case FindingKind::kBadDatabase:
      return "bad-database";
    case FindingKind::kOpenRoot:
      return "open-root";
    case FindingKind::kStray:
      return "stray";
    case FindingKind::kBadConfig:
      return "bad-config";
    case FindingKind::kDanglingRow:
      return "dangling-row";
    case FindingKind::kLostRow:
      return "lost-row";
    case FindingKind::kMissingLayer:
      return "missing-layer";
    case FindingKind::kMissingStore:
      return "missing-store";
    case FindingKind::kMissingBlob:
      return "missing-blob";
    case FindingKind::kBlobSize:
      return "blob-size";
    case FindingKind::kBlobDigest:
      return "blob-digest";
    case FindingKind::kBadRecipe:
      return "bad-recipe";
    case FindingKind::kBadObjectList:
      return "bad-object-list";
    case FindingKind::kBadIndex:
      return "bad-index";
    case FindingKind::kMissingEntry:
      return "missing-entry";
    case FindingKind::kExtraEntry:
      return "extra-entry";
    case FindingKind::kWrongType:
      return "wrong-type";
    case FindingKind::kWrongMode:
      return "wrong-mode";
    case FindingKind::kWrongOwner:
      return "wrong-owner";
    case FindingKind::kWrongTime:
      return "wrong-time";
    case FindingKind::kWrongSize:
      return "wrong-size";
    case FindingKind::kWrongXattr:
      return "wrong-xattr";
    case FindingKind::kWrongLink:
      return "wrong-link";
    case FindingKind::kUnguarded:
      return "unguarded";
    case FindingKind::kContent:
      return "content";
    case FindingKind::kUnreadable:
      return "unreadable";
    case FindingKind::kGarbage:
      return "garbage";
    case FindingKind::kQuarantined:
      return "quarantined";
    case FindingKind::kNoRecipe:
      return "no-recipe";
  }
  return "unknown";
}

bool Harmless(FindingKind kind) {
  return kind == FindingKind::kGarbage || kind == FindingKind::kQuarantined ||
         kind == FindingKind::kNoRecipe;
}

std::string Finding::ToString() const {
  std::string text;
  if (layer) text += "layer " + layer->ToString() + " ";
  if (blob) text += "blob " + blob->ToString() + " ";
  if (!path.empty()) text += "'" + ShownName(path) + "' ";
  if (!text.empty()) {
    text.pop_back();
    text += ": ";
  }
  text += FindingName(kind);
  if (!detail.empty()) text += ": " + detail;
  return text;
}

}  // namespace strata::layerstore
