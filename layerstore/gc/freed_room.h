// What the room of layers that go is. Private to this folder.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "base/digest.h"
#include "base/error.h"
#include "layerstore/meta/image_store.h"
#include "layerstore/objects/object_key.h"
#include "layerstore/staging/store_root.h"

namespace strata::layerstore {

// Counts the files that only layers have which go: an object goes with the last link that any layer
// has to it. Memory grows with the files that others of the store's layers have, too. Nothing else
// may be deleting layers. Not thread-safe.
class FreedRoom {
 public:
  explicit FreedRoom(StoreRoot& root) : root_(root) {}

  // One more layer goes, once only: the room of the objects that go with it (RoomOf). None for one
  // whose objects can not be told.
  Result<std::uint64_t> Drop(const Digest& diff_id);

 private:
  struct Object {
    std::uint64_t left = 0;  // links of layers that stay
    std::uint64_t room = 0;
    ino_t inode = 0;
  };
  // By inode: of files that have several names within a layer, how many.
  using Links = std::unordered_map<ino_t, std::uint64_t>;
  struct KeyHash {
    std::size_t operator()(const ObjectKey& key) const { return key.Traits(); }
  };

  Result<Links> LinksWithin(int layer_dir) const;
  Result<std::uint64_t> DropObject(const ObjectKey& key, const Links& links);

  StoreRoot& root_;
  std::unordered_map<ObjectKey, Object, KeyHash> objects_;  // of which only some links are gone
};

// What the store takes (usage/usage.h) with its blobs, without what nothing needs any more.
class LiveRoom final : public ImageRoom {
 public:
  static Result<std::unique_ptr<LiveRoom>> Read(Connection& connection, StoreRoot& root);

  std::uint64_t total() const override { return total_; }
  Result<> Drop(const std::vector<Digest>& diff_ids) override;

 private:
  explicit LiveRoom(StoreRoot& root) : freed_(root) {}
  Result<> DropLayer(const Digest& diff_id, std::uint64_t own);

  struct Layer {
    std::uint64_t own = 0;    // with its blobs, without objects
    std::int64_t needed = 0;  // by how many images and users
  };
  FreedRoom freed_;
  std::unordered_map<Digest, Layer> layers_;
  std::uint64_t total_ = 0;
};

}  // namespace strata::layerstore
