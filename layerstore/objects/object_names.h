// Which objects there are of one content.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "layerstore/objects/object_key.h"

namespace strata::layerstore {

// The names in objects/, directory by directory as each comes to be asked for: to list one for
// every file would be too dear. What other processes add or remove later is not seen. Memory is
// bounded: of directories that do not fit nothing is known. Not thread-safe.
class ObjectNames {
 public:
  static constexpr std::size_t kNamesMax = std::size_t{1} << 20U;  // 16 MiB

  // Whether Load() is to be called before anything is asked about the key's content.
  bool Wants(const ObjectKey& key) const { return !FanOf(key).loaded; }
  // All keys whose paths lead to the same directory as this one's.
  void Load(const ObjectKey& key, std::vector<ObjectKey> all);

  // Those with the key's content, itself among them if it is there. Valid until the next call of
  // another function.
  std::span<const ObjectKey> Alike(const ObjectKey& key) const;

  // Nothing where Load() was not called.
  void Add(const ObjectKey& key);
  void Remove(const ObjectKey& key);

 private:
  struct Fan {
    bool loaded = false;
    std::vector<ObjectKey> keys;  // sorted
  };
  static constexpr std::size_t kFans = 256;

  const Fan& FanOf(const ObjectKey& key) const { return fans_[key.value().bytes().front()]; }
  Fan& FanOf(const ObjectKey& key) { return fans_[key.value().bytes().front()]; }

  std::array<Fan, kFans> fans_;
  std::size_t count_ = 0;
};

}  // namespace strata::layerstore
