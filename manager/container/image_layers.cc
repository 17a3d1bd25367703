#include "manager/container/image_layers.h"

#include <string>
#include <utility>
#include <vector>

#include "base/try.h"
#include "layerstore/store/store.h"
#include "manager/image/layer_error.h"

namespace strata::manager {

Result<std::vector<Digest>> LayersOf(const ContainerRecord& record) {
  std::vector<Digest> diff_ids;
  for (const std::string& layer : record.layers) {
    STRATA_TRY_ASSIGN(diff_ids.emplace_back(), Digest::Parse(layer));
  }
  return diff_ids;
}

Result<std::uint64_t> ImageSize(const ContainerRecord& record,
                                const std::unordered_map<Digest, std::uint64_t>& layers) {
  STRATA_TRY_ASSIGN(const std::vector<Digest> diff_ids, LayersOf(record));
  std::uint64_t size = 0;
  for (const Digest& diff_id : diff_ids) {
    if (const auto layer = layers.find(diff_id); layer != layers.end()) size += layer->second;
  }
  return size;
}

Result<> AddImageLayers(layerstore::Store& store, std::string_view image,
                        std::span<const Digest> diff_ids, RootFsRequest& request) {
  auto layers = store.layers().LowerDirs(diff_ids);
  if (!layers) {
    return std::unexpected(LayerError(store, image, diff_ids, std::move(layers).error()));
  }
  request.layers.insert(request.layers.end(), layers->begin(), layers->end());
  request.chain_layers = layers->size();
  auto chain = store.chains().Ensure(diff_ids);
  if (!chain) {
    const bool closed = chain.error().code() == EACCES;
    Error error = std::move(chain).error().WithContext(
        closed ? "the image's layers have directories that this user may not read"
               : "the index of the image's layers cannot be made");
    return std::unexpected(LayerError(store, image, diff_ids, std::move(error)));
  }
  request.chain = std::move(*chain);
  return {};
}

}  // namespace strata::manager
