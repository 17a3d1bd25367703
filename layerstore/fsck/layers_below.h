// Whether the layers that a store needs of stores below are there. Private to this folder.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "layerstore/fsck/finding.h"

namespace strata::layerstore {

class Store;

// A layer that is not in the store, and who needs it.
struct NeededLayer {
  Digest diff_id;
  std::string user;   // "image debian:12 (sha256:…)", "container:…"
  std::string store;  // where it was when it came to be needed; empty: in none that is known
};

// Opens stores as they are asked for. Not thread-safe.
class LayersBelow {
 public:
  // `additional`: roots of stores to ask besides those of the layers themselves and of `store`.
  LayersBelow(Store& store, const std::vector<std::string>& additional);
  ~LayersBelow();

  // Nothing is found if some store has the layer. Errors are those that say nothing about stores.
  Result<> Check(const NeededLayer& layer, const FindingSink& found);

 private:
  struct Opened;
  Result<Opened*> Open(const std::string& root);
  Result<bool> Has(const std::string& root, const Digest& diff_id);

  std::vector<std::string> roots_;
  std::map<std::string, std::unique_ptr<Opened>> opened_;
};

}  // namespace strata::layerstore
