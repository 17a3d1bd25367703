#include "layerstore/objects/object_names.h"

#include <algorithm>
#include <utility>

namespace strata::layerstore {

void ObjectNames::Load(const ObjectKey& key, std::vector<ObjectKey> all) {
  Fan& fan = FanOf(key);
  fan.loaded = true;
  if (count_ + all.size() > kNamesMax) return;
  fan.keys = std::move(all);
  fan.keys.shrink_to_fit();
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
