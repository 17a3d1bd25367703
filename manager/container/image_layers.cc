#include "manager/container/image_layers.h"

#include <string>
#include <utility>
#include <vector>

#include "base/try.h"
#include "layerstore/store/store.h"

namespace strata::manager {

Result<std::vector<Digest>> LayersOf(const ContainerRecord& record) {
  std::vector<Digest> diff_ids;
  for (const std::string& layer : record.layers) {
    STRATA_TRY_ASSIGN(diff_ids.emplace_back(), Digest::Parse(layer));
  }
  return diff_ids;
}

Result<> AddImageLayers(layerstore::Store& store, std::span<const Digest> diff_ids,
                        RootFsRequest& request) {
  STRATA_TRY_ASSIGN(const std::vector<std::string> layers, store.layers().LowerDirs(diff_ids));
  request.layers.insert(request.layers.end(), layers.begin(), layers.end());
  request.chain_layers = layers.size();
  auto chain = store.chains().Ensure(diff_ids);
  if (!chain) {
    const bool closed = chain.error().code() == EACCES;
    return std::unexpected(std::move(chain).error().WithContext(
        closed ? "the image's layers have directories that this user may not read"
               : "the index of the image's layers cannot be made"));
  }
  request.chain = std::move(*chain);
  return {};
}

}  // namespace strata::manager
