#include "layerstore/objects/object_names.h"

#include <algorithm>

#include "base/path.h"

namespace strata::layerstore {

void ObjectNames::Load(const ObjectKey& key, const std::vector<std::string>& names) {
  Fan& fan = FanOf(key);
  fan.loaded = true;
  if (count_ + names.size() > kNamesMax) return;
  const std::string path = key.Path();
  fan.keys.reserve(names.size());
  for (const std::string& name : names) {
    const auto found = ObjectKey::FromPath(JoinPath(DirName(path), name));
    if (found) fan.keys.push_back(*found);
  }
  std::ranges::sort(fan.keys);
  count_ += fan.keys.size();
}

std::span<const ObjectKey> ObjectNames::Alike(const ObjectKey& key) const {
  // In the order of their bytes, those of one content lie together.
  const auto before = [](const ObjectKey& one, const ObjectKey& other) {
    constexpr std::size_t kHalf = Xxh128::kBytes / 2;
    const auto& a = one.value().bytes();
    const auto& b = other.value().bytes();
    return std::lexicographical_compare(a.begin(), a.begin() + kHalf, b.begin(), b.begin() + kHalf);
  };
  const auto found = std::ranges::equal_range(FanOf(key).keys, key, before);
  return {found.begin(), found.end()};
}

void ObjectNames::Add(const ObjectKey& key) {
  Fan& fan = FanOf(key);
  if (!fan.loaded || count_ == kNamesMax) return;
  const auto at = std::ranges::lower_bound(fan.keys, key);
  if (at != fan.keys.end() && *at == key) return;
  fan.keys.insert(at, key);
  ++count_;
}

void ObjectNames::Remove(const ObjectKey& key) {
  Fan& fan = FanOf(key);
  const auto at = std::ranges::lower_bound(fan.keys, key);
  if (at == fan.keys.end() || *at != key) return;
  fan.keys.erase(at);
  --count_;
}

}  // namespace strata::layerstore
