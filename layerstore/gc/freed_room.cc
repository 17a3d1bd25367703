#include "layerstore/gc/freed_room.h"

#include <algorithm>
#include <memory>

#include "base/own_error.h"
#include "base/try.h"
#include "layerstore/index/metadata_index.h"
#include "layerstore/meta/database.h"
#include "layerstore/meta/object_room.h"
#include "layerstore/objects/object_directory.h"
#include "layerstore/objects/object_list.h"

namespace strata::layerstore {

Result<std::uint64_t> FreedRoom::Drop(const Digest& diff_id) {
  if (root_.objects() == nullptr) return 0;
  auto dir =
      root_.ops().Open(root_.layers(), diff_id.Hex().c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!dir && dir.error().code() == ENOENT) return 0;
  if (!dir) return std::unexpected(std::move(dir).error());
  STRATA_TRY_ASSIGN(const Links links, LinksWithin(dir->get()));
  std::uint64_t freed = 0;
  auto dropped = ForEachObject(root_.ops(), dir->get(), [&](const ObjectKey& key) -> Result<> {
    STRATA_TRY_ASSIGN(const std::uint64_t room, DropObject(key, links));
    freed += room;
    return {};
  });
  // A damaged list tells of none, and fsck of it.
  if (!dropped && dropped.error().code() != EBADMSG) {
    return std::unexpected(std::move(dropped).error());
  }
  return freed;
}

// Without a good index each file counts as having one name.
Result<FreedRoom::Links> FreedRoom::LinksWithin(int layer_dir) const {
  Links links;
  const auto index = MetadataIndex::Open(root_.ops(), layer_dir, "index");
  if (!index) {
    if (IsOurs(index.error().code())) return Fail(index.error().code(), "index");
    return links;
  }
  for (MetadataIndex::Number number = 0; number < (*index)->entries(); ++number) {
    const auto entry = (*index)->At(number);
    if (!entry) break;
    if (S_ISREG(entry->attr.st_mode) && entry->attr.st_nlink > 1) {
      links.emplace(entry->attr.st_ino, entry->attr.st_nlink);
    }
  }
  return links;
}

Result<std::uint64_t> FreedRoom::DropObject(const ObjectKey& key, const Links& links) {
  auto [at, added] = objects_.try_emplace(key);
  Object& object = at->second;
  if (added) {
    STRATA_TRY_ASSIGN(const auto st, root_.objects()->Look(key));
    if (st) {
      object = {st->st_nlink - 1U, RoomOf(static_cast<std::uint64_t>(st->st_size)), st->st_ino};
    }
  }
  const auto several = links.find(object.inode);
  const std::uint64_t gone = several != links.end() ? several->second : 1;
  object.left -= std::min(object.left, gone);
  if (object.left > 0) return 0;
  const std::uint64_t room = object.room;
  objects_.erase(at);
  return room;
}

Result<std::unique_ptr<LiveRoom>> LiveRoom::Read(Connection& connection, StoreRoot& root) {
  std::unique_ptr<LiveRoom> live(new LiveRoom(root));
  STRATA_TRY_ASSIGN(
      Statement layers,
      connection.Prepare(
          "SELECT diff_id, coalesce(disk, size) + (SELECT coalesce(sum(size), 0) FROM layer_blobs "
          "WHERE layer_blobs.diff_id=layers.diff_id AND kept IS NOT 0), (SELECT count(*) FROM "
          "image_layers WHERE image_layers.diff_id=layers.diff_id) + (SELECT count(*) FROM "
          "user_layers WHERE user_layers.diff_id=layers.diff_id) FROM layers"));
  STRATA_TRY_ASSIGN(live->total_, ObjectRoom(connection));
  for (;;) {
    STRATA_TRY_ASSIGN(const bool row, layers.Step());
    if (!row) break;
    STRATA_TRY_ASSIGN(const Digest diff_id, Digest::Parse(layers.Text(0)));
    const Layer layer{static_cast<std::uint64_t>(layers.Integer(1)), layers.Integer(2)};
    live->total_ += layer.own;
    live->layers_.emplace(diff_id, layer);
  }
  for (const auto& [diff_id, layer] : live->layers_) {
    if (layer.needed == 0) STRATA_TRY(live->DropLayer(diff_id, layer.own));
  }
  return live;
}

Result<> LiveRoom::Drop(const std::vector<Digest>& diff_ids) {
  for (const Digest& diff_id : diff_ids) {
    const auto layer = layers_.find(diff_id);
    if (layer == layers_.end() || --layer->second.needed != 0) continue;
    STRATA_TRY(DropLayer(diff_id, layer->second.own));
  }
  return {};
}

Result<> LiveRoom::DropLayer(const Digest& diff_id, std::uint64_t own) {
  STRATA_TRY_ASSIGN(const std::uint64_t objects, freed_.Drop(diff_id));
  total_ -= std::min(total_, own + objects);
  return {};
}

}  // namespace strata::layerstore
