#include "layerstore/store/store.h"

#include <sys/stat.h>

#include <set>
#include <utility>

#include "base/try.h"
#include "layerstore/meta/object_room.h"
#include "layerstore/meta/schema.h"
#include "layerstore/staging/store_root.h"

namespace strata::layerstore {

// In this order: the database is closed before the staging directory goes.
struct Store::Parts {
  std::vector<std::unique_ptr<Store>> below;
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
  // First: without one of them nothing is done to the store itself.
  for (const std::string& root : options.additional) {
    STRATA_TRY_ASSIGN(parts->below.emplace_back(), OpenBelow(root, options));
  }
  STRATA_TRY_ASSIGN(
      parts->root,
      StoreRoot::Open(options.root, {options.read_only, options.delete_in_background}, ops));
  STRATA_TRY(CheckDistinct(*parts));
  STRATA_TRY(CheckDatabaseIsThere(*parts->root));
  STRATA_TRY_ASSIGN(parts->database,
                    OpenStoreDatabase(parts->root->path() + "/meta.db", options.read_only));
  std::vector<BlobStore*> blobs;
  std::vector<LayerStore*> layers;
  std::vector<ImagesBelow::Store> images;
  for (const auto& lower : parts->below) {
    blobs.push_back(&lower->blobs());
    layers.push_back(&lower->layers());
    images.push_back({lower->root(), &lower->images()});
  }
  parts->blobs = std::make_unique<BlobStore>(*parts->root, std::move(blobs));
  parts->layers = std::make_unique<LayerStore>(*parts->root, *parts->blobs, parts->database,
                                               options.verity, std::move(layers));
  parts->chains = std::make_unique<ChainStore>(
      *parts->root,
      ChainStore::Layers{
          [&all = *parts->layers](const Digest& diff_id) { return all.RootOf(diff_id); },
          [&all = *parts->layers](const Digest& diff_id) -> std::optional<bool> {
            const auto layer = all.Find(diff_id);
            return layer ? layer->user_marks : std::nullopt;
          }});
  STRATA_TRY_ASSIGN(parts->images,
                    ImageStore::Open(parts->database, ImagesBelow(std::move(images))));
  return std::unique_ptr<Store>(new Store(std::move(parts)));
}

Result<std::unique_ptr<Store>> Store::OpenBelow(const std::string& root,
                                                const StoreOptions& options) {
  auto store = Open({.root = root, .read_only = true, .ops = options.ops});
  if (store) return store;
  return std::unexpected(std::move(store).error().WithContext("additional store " + root));
}

// A new database would make garbage of all layers that are there.
Result<> Store::CheckDatabaseIsThere(const StoreRoot& root) {
  const auto is_there = [&]() -> Result<bool> {
    const auto st = root.ops().StatAt(AT_FDCWD, (root.path() + "/meta.db").c_str());
    if (st) return st->st_size > 0;
    if (st.error().code() == ENOENT) return false;
    return Fail(st.error().code(), "store", root.path() + "/meta.db");
  };
  STRATA_TRY_ASSIGN(bool there, is_there());
  if (there) return {};
  STRATA_TRY_ASSIGN(const auto layers, root.NamesOf(root.layers()));
  STRATA_TRY_ASSIGN(const auto blobs, root.NamesOf(root.blobs()));
  if (layers.empty() && blobs.empty()) return {};
  // Another process may be just making it.
  STRATA_TRY_ASSIGN(there, is_there());
  if (there) return {};
  return Fail(EBADMSG, "store",
              root.path() + "/meta.db is missing or empty, but there are " +
                  std::to_string(layers.size()) + " layers and " + std::to_string(blobs.size()) +
                  " blobs: bring it back from a copy, or import the images into another store");
}

Result<> Store::CheckDistinct(const Parts& parts) {
  std::set<std::pair<dev_t, ino_t>> seen;
  const auto check = [&](const StoreRoot& root) -> Result<> {
    STRATA_TRY_ASSIGN(const struct stat st, root.ops().Stat(root.layers()));
    if (seen.emplace(st.st_dev, st.st_ino).second) return {};
    return Fail(EINVAL, "store", root.path() + " is named more than once");
  };
  STRATA_TRY(check(*parts.root));
  for (const auto& lower : parts.below) STRATA_TRY(check(lower->store_root()));
  return {};
}

std::vector<Store*> Store::below() const {
  std::vector<Store*> stores;
  for (const auto& lower : parts_->below) stores.push_back(lower.get());
  return stores;
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
