// The layer store: layers unpacked once, shared by every container, and the images made of them.
// Layout and protocol: docs/formats/store.md.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "base/file_ops.h"
#include "layerstore/blob/blob_store.h"
#include "layerstore/chain/chain_store.h"
#include "layerstore/layer/layer_store.h"
#include "layerstore/meta/database.h"
#include "layerstore/meta/image_store.h"
#include "layerstore/meta/lease.h"

namespace strata::layerstore {

struct StoreOptions {
  std::string root;        // made, mode 0700, if it is not there (unless read_only)
  bool read_only = false;  // nothing is written, not even the start-up cleanup
  // What leaves the store is deleted by a thread of its own; else before the call returns that
  // removed it.
  bool delete_in_background = false;
  // Roots of stores below this one, the first asked first; they are only read.
  std::vector<std::string> additional = {};
  Verity verity = Verity::kAuto;  // which files of new layers the kernel guards, if it can
  FileOps* ops = nullptr;         // FileOps::System() if null; must outlive the store
};

// One process's handle on a store. Thread-safe; any number of processes may have the same store
// open. What a crash left in tmp/ and trash/ is removed at the next Open(), but never the staging
// of a process that lives. Everything handed out (writers, sinks, leases) must be gone before it.
class Store {
 public:
  // EPROTONOSUPPORT for a store written by a newer program; ENOENT for a read-only one that is not
  // there; ENOTSUP where the filesystem lacks what a store needs. For an additional store the error
  // names it; EINVAL if one is named twice, or is the store itself.
  static Result<std::unique_ptr<Store>> Open(const StoreOptions& options);
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  ~Store();

  const std::string& root() const;  // absolute
  // The stores below, the first asked first.
  std::vector<Store*> below() const;
  FileOps& ops();

  BlobStore& blobs();
  LayerStore& layers();
  ImageStore& images();
  ChainStore& chains();
  // meta.db, for tables of the manager's own (Database::Migrate).
  const std::shared_ptr<Database>& database();

  // Take one per pull, import or build, and hold it until the image is put. A read-only store's
  // pins nothing.
  Result<Lease> NewLease();

  // The directories of an image's layers, top first: what stratafs takes as lowerdir=.
  Result<std::vector<std::string>> LowerDirs(const Image& image);

  // Internal: brings the sum of what objects take up to date (layerstore/meta/object_room.h).
  Result<> SettleObjectRoom();
  // Internal: for the collector and import.
  StoreRoot& store_root();

 private:
  struct Parts;
  explicit Store(std::unique_ptr<Parts> parts);
  static Result<std::unique_ptr<Store>> OpenBelow(const std::string& root,
                                                  const StoreOptions& options);
  // That no store is there twice.
  static Result<> CheckDistinct(const Parts& parts);
  static Result<> CheckDatabaseIsThere(const StoreRoot& root);
  std::unique_ptr<Parts> parts_;
};

}  // namespace strata::layerstore
