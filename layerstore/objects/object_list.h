// Which objects a layer's files are: the file "objects" beside its directory. Format:
// docs/formats/store.md.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/error.h"
#include "base/file_ops.h"
#include "base/unique_fd.h"
#include "layerstore/objects/object_key.h"

namespace strata::layerstore {

// Written while the layer is unpacked; durable and visible with it. Not thread-safe.
class ObjectListWriter {
 public:
  static constexpr const char* kFileName = "objects";

  // Makes the file at the first Add(). Borrows `layer_dir`.
  ObjectListWriter(FileOps& ops, int layer_dir) : ops_(ops), layer_dir_(layer_dir) {}

  Result<> Add(const ObjectKey& key);
  // After the last Add(), once or more often. No list is a list of none.
  Result<> Finish();

 private:
  Result<> Flush();

  FileOps& ops_;
  const int layer_dir_;
  UniqueFd file_;
  std::vector<ObjectKey> keys_;  // not in the file yet
  std::uint64_t written_ = 0;
  Xxh128Hasher hasher_;
  bool finished_ = false;
};

// Calls `each` for every object of a layer. EBADMSG for a list that is not whole, before any call;
// EPROTONOSUPPORT for one of a later version. Borrows `layer_dir`.
Result<> ForEachObject(FileOps& ops, int layer_dir,
                       const std::function<Result<>(const ObjectKey&)>& each);

}  // namespace strata::layerstore
