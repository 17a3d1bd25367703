// Names of a layer that can be dealt with only when its archive has ended.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "base/error.h"
#include "layerstore/archive/subtree.h"
#include "layerstore/archive/unpack_options.h"

namespace strata::layerstore {

// Normalised paths with what is to be done there (std::string, or a type of fixed size), in memory
// that is bounded. Real layers need it for a handful. Not thread-safe.
template <class Value>
class BoundedNames {
 public:
  // Up to `limits.kept_bytes`.
  explicit BoundedNames(const UnpackLimits& limits) : limits_(limits) {}

  // Adds or replaces; E2BIG for more bytes than are allowed.
  Result<> Put(const std::string& path, Value value) {
    Erase(path);
    const std::uint64_t bytes = Bytes(path, value);
    if (bytes > limits_.kept_bytes - bytes_) {
      return OverLimit(limits_, "unpack", "kept-bytes", limits_.kept_bytes,
                       "bytes of names to keep until the archive's end");
    }
    bytes_ += bytes;
    names_.emplace(path, std::move(value));
    return {};
  }

  // nullptr if it is not here. Valid until the next change.
  const Value* Find(std::string_view path) const {
    const auto it = names_.find(path);
    return it == names_.end() ? nullptr : &it->second;
  }

  // Whether it was here.
  bool Erase(std::string_view path) {
    const auto it = names_.find(path);
    if (it == names_.end()) return false;
    EraseAt(it);
    return true;
  }
  // The path and all below it.
  void EraseTree(std::string_view path) {
    EraseSubtree(names_, path, [this](auto it) { return EraseAt(it); });
  }

  // In order of bytes.
  const std::map<std::string, Value, std::less<>>& names() const { return names_; }

 private:
  using Map = std::map<std::string, Value, std::less<>>;

  static std::uint64_t Bytes(const std::string& path, const Value& value) {
    constexpr std::uint64_t kNode = 128;  // of the map, and what the allocator rounds up
    if constexpr (std::is_same_v<Value, std::string>) return kNode + path.size() + value.size();
    return kNode + path.size();
  }
  Map::iterator EraseAt(Map::iterator it) {
    bytes_ -= Bytes(it->first, it->second);
    return names_.erase(it);
  }

  const UnpackLimits limits_;
  std::uint64_t bytes_ = 0;
  Map names_;
};

}  // namespace strata::layerstore
