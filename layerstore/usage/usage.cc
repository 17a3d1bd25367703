#include "layerstore/usage/usage.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "base/try.h"
#include "layerstore/meta/database.h"
#include "layerstore/meta/object_room.h"
#include "layerstore/store/store.h"

namespace strata::layerstore {

Result<std::unordered_map<Digest, std::uint64_t>> LayerSizes(Store& store) {
  std::unordered_map<Digest, std::uint64_t> sizes;
  STRATA_TRY(store.database()->Read([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(Statement rows, connection.Prepare("SELECT diff_id, size FROM layers"));
    for (;;) {
      STRATA_TRY_ASSIGN(const bool row, rows.Step());
      if (!row) return {};
      STRATA_TRY_ASSIGN(const Digest diff_id, Digest::Parse(rows.Text(0)));
      sizes.emplace(diff_id, static_cast<std::uint64_t>(rows.Integer(1)));
    }
  }));
  for (Store* const lower : store.below()) {
    STRATA_TRY_ASSIGN(const auto more, LayerSizes(*lower));
    sizes.insert(more.begin(), more.end());
  }
  return sizes;
}

Result<StoreUsage> MeasureStore(Store& store) {
  STRATA_TRY(store.SettleObjectRoom());
  StoreUsage usage;
  STRATA_TRY(store.database()->Read([&](Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(
        Statement sums,
        connection.Prepare("SELECT COUNT(*), IFNULL(SUM(size), 0), "
                           "IFNULL(SUM(IFNULL(disk, size)), 0), IFNULL(SUM(objects), 0), "
                           "(SELECT IFNULL(SUM(size), 0) FROM layer_blobs WHERE IFNULL(kept, 1)), "
                           "IFNULL(SUM(CASE WHEN EXISTS (SELECT 1 FROM user_layers WHERE "
                           "user_layers.diff_id=layers.diff_id) THEN 0 ELSE size END), 0) "
                           "FROM layers"));
    STRATA_TRY_ASSIGN(const bool row, sums.Step());
    if (!row) return Fail(EIO, "store usage", "no sums");
    const auto sum = [&](int column) { return static_cast<std::uint64_t>(sums.Integer(column)); };
    usage.layers = sum(0);
    usage.content = sum(1);
    const std::uint64_t own = sum(2);
    const std::uint64_t named = sum(3);
    usage.blobs = sum(4);
    usage.unused = sum(5);
    STRATA_TRY_ASSIGN(const std::uint64_t objects, ObjectRoom(connection));
    usage.logical = own + named;
    usage.physical = own + std::min(named, objects);
    return {};
  }));
  return usage;
}

Result<std::map<Digest, std::uint64_t>> SharedSizes(Store& store) {
  STRATA_TRY_ASSIGN(const auto images, store.images().List());
  STRATA_TRY_ASSIGN(const auto layers, LayerSizes(store));
  std::map<Digest, std::set<Digest>> layers_of;  // by image
  std::map<Digest, std::size_t> users;
  for (const Image& image : images) {
    const auto& own = layers_of[image.id] = {image.diff_ids.begin(), image.diff_ids.end()};
    for (const Digest& diff_id : own) ++users[diff_id];
  }
  std::map<Digest, std::uint64_t> sizes;
  for (const auto& [image, own] : layers_of) {
    for (const Digest& diff_id : own) {
      const auto layer = layers.find(diff_id);
      if (users[diff_id] > 1 && layer != layers.end()) sizes[image] += layer->second;
    }
  }
  return sizes;
}

}  // namespace strata::layerstore
