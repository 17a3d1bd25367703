#include "manager/image/layer_error.h"

#include <optional>
#include <string>
#include <utility>

#include "base/try.h"
#include "layerstore/meta/database.h"
#include "layerstore/meta/layer_below.h"
#include "layerstore/store/store.h"

namespace strata::manager {
namespace {

std::string Where(layerstore::Store& store, const Digest& diff_id) {
  std::optional<std::string> root;
  auto read = store.database()->Read([&](layerstore::Connection& connection) -> Result<> {
    STRATA_TRY_ASSIGN(root, layerstore::RecordedStoreBelow(connection, diff_id));
    return {};
  });
  if (!read) return "; where it was cannot be told: " + read.error().ToString();
  if (!root) return {};
  return "; it was in the additional store " + *root + ", which is not given or has it no more";
}

}  // namespace

Error LayerError(layerstore::Store& store, std::string_view image, std::span<const Digest> diff_ids,
                 Error error) {
  std::string text = "image " + std::string(image);
  if (error.code() != ENOENT) return std::move(error).WithContext(text);
  text += ": ";
  std::optional<Digest> missing;
  for (const Digest& diff_id : diff_ids) {
    const auto layer = store.layers().Find(diff_id);
    if (layer || layer.error().code() != ENOENT) continue;
    missing = diff_id;
    break;
  }
  text += missing ? "layer " + missing->ToString() + " is missing" + Where(store, *missing)
                  : error.ToString();
  return Error(EIO, "layers", text + "; 'strata store fsck' tells what the store lacks");
}

}  // namespace strata::manager
