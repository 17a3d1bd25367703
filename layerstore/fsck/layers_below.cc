#include "layerstore/fsck/layers_below.h"

#include <optional>
#include <utility>

#include "base/try.h"
#include "layerstore/fsck/layer_check.h"
#include "layerstore/store/store.h"

namespace strata::layerstore {

struct LayersBelow::Opened {
  std::unique_ptr<Store> store;
  std::string error;  // why there is none
};

LayersBelow::LayersBelow(Store& store, const std::vector<std::string>& additional)
    : roots_(additional) {
  for (const Store* lower : store.below()) roots_.push_back(lower->root());
}

LayersBelow::~LayersBelow() = default;

Result<LayersBelow::Opened*> LayersBelow::Open(const std::string& root) {
  auto& opened = opened_[root];
  if (opened) return opened.get();
  auto store = Store::Open({.root = root, .read_only = true});
  if (!store && IsOurs(store.error().code())) return std::unexpected(std::move(store).error());
  opened = std::make_unique<Opened>();
  if (store) {
    opened->store = *std::move(store);
  } else {
    opened->error = store.error().ToString();
  }
  return opened.get();
}

Result<bool> LayersBelow::Has(const std::string& root, const Digest& diff_id) {
  STRATA_TRY_ASSIGN(const Opened* lower, Open(root));
  if (!lower->store) return false;
  const auto layer = lower->store->layers().FindOwn(diff_id);
  if (!layer && IsOurs(layer.error().code())) return Fail(layer.error().code(), "find layer", root);
  return layer.has_value();
}

Result<> LayersBelow::Check(const NeededLayer& layer, const FindingSink& found) {
  std::vector<std::string> roots = roots_;
  if (!layer.store.empty()) roots.insert(roots.begin(), layer.store);
  for (const std::string& root : roots) {
    STRATA_TRY_ASSIGN(const bool has, Has(root, layer.diff_id));
    if (has) return {};
  }
  const std::string needed = layer.user + " needs it";
  if (layer.store.empty()) {
    found({FindingKind::kMissingLayer, layer.diff_id, std::nullopt, "", needed});
    return {};
  }
  STRATA_TRY_ASSIGN(const Opened* lower, Open(layer.store));
  const std::string where = "; it was in the additional store " + layer.store;
  if (lower->store) {
    found({FindingKind::kMissingLayer, layer.diff_id, std::nullopt, "",
           needed + where + ", which has it no more"});
  } else {
    found({FindingKind::kMissingStore, layer.diff_id, std::nullopt, "",
           needed + where + ", which can not be opened: " + lower->error});
  }
  return {};
}

}  // namespace strata::layerstore
