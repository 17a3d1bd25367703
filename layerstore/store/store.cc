#include "layerstore/store/store.h"

#include <utility>

#include "base/try.h"
#include "layerstore/meta/object_room.h"
#include "layerstore/meta/schema.h"
#include "layerstore/staging/store_root.h"

namespace strata::layerstore {

// In this order: the database is closed before the staging directory goes.
struct Store::Parts {
  std::unique_ptr<StoreRoot> root;
  std::shared_ptr<Database> database;
  std::unique_ptr<BlobStore> blobs;
  std::unique_ptr<LayerStore> layers;
  std::unique_ptr<ChainStore> chains;
  std::unique_ptr<ImageStore> images;
};

Store::Store(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Store::~Store() { Ignore(SettleObjectRoom(), "a sum that is only shown"); }

Result<> Store::SettleObjectRoom() {
  if (parts_->root->read_only()) return {};
  const StoreRoot::ObjectRoom room = parts_->root->TakeObjectRoom();
  if (room.freed == 0 && !room.counted) return {};
  return parts_->database->WriteRelaxed([&](Connection& connection) -> Result<> {
    if (room.counted) STRATA_TRY(SetObjectRoom(connection, *room.counted));
    return ChangeObjectRoom(connection, -static_cast<std::int64_t>(room.freed));
  });
}

Result<std::unique_ptr<Store>> Store::Open(const StoreOptions& options) {
  FileOps& ops = options.ops != nullptr ? *options.ops : FileOps::System();
  auto parts = std::make_unique<Parts>();
  STRATA_TRY_ASSIGN(
      parts->root,
      StoreRoot::Open(options.root, {options.read_only, options.delete_in_background}, ops));
  STRATA_TRY_ASSIGN(parts->database,
                    OpenStoreDatabase(parts->root->path() + "/meta.db", options.read_only));
  parts->blobs = std::make_unique<BlobStore>(*parts->root);
  parts->layers = std::make_unique<LayerStore>(*parts->root, *parts->blobs, parts->database);
  parts->chains = std::make_unique<ChainStore>(
      *parts->root,
      ChainStore::Layers{
          [&root = *parts->root](const Digest&) -> Result<const StoreRoot*> { return &root; },
          [&layers = *parts->layers](const Digest& diff_id) -> std::optional<bool> {
            const auto layer = layers.Find(diff_id);
            return layer ? layer->user_marks : std::nullopt;
          }});
  STRATA_TRY_ASSIGN(parts->images, ImageStore::Open(parts->database));
  return std::unique_ptr<Store>(new Store(std::move(parts)));
}

const std::string& Store::root() const { return parts_->root->path(); }
FileOps& Store::ops() { return parts_->root->ops(); }
BlobStore& Store::blobs() { return *parts_->blobs; }
LayerStore& Store::layers() { return *parts_->layers; }
ChainStore& Store::chains() { return *parts_->chains; }
ImageStore& Store::images() { return *parts_->images; }
const std::shared_ptr<Database>& Store::database() { return parts_->database; }
StoreRoot& Store::store_root() { return *parts_->root; }

Result<Lease> Store::NewLease() { return Lease::Create(parts_->database, parts_->root->owner()); }

Result<std::vector<std::string>> Store::LowerDirs(const Image& image) {
  return parts_->layers->LowerDirs(image.diff_ids);
}

}  // namespace strata::layerstore
