#include "fusefs/union/directory.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <functional>

namespace strata::fusefs {
namespace {

constexpr std::uint32_t kEmptyBucket = 0;
constexpr std::uint32_t kDeletedBucket = ~std::uint32_t{0};
// So many names are compared about as fast as one is hashed.
constexpr std::size_t kSearched = 16;

std::size_t HashName(std::string_view name) { return std::hash<std::string_view>{}(name); }

}  // namespace

NameTable::Slot NameTable::Find(std::string_view name) const {
  if (!Hashed()) {
    for (Slot slot = 0; slot < end(); ++slot) {
      if (InUse(slot) && NameOf(slot) == name) return slot;
    }
    return kNone;
  }
  const std::vector<std::uint32_t>& buckets = extras_->buckets;
  const std::size_t mask = buckets.size() - 1;
  for (std::size_t i = HashName(name) & mask;; i = (i + 1) & mask) {
    const std::uint32_t bucket = buckets[i];
    if (bucket == kEmptyBucket) return kNone;
    if (bucket != kDeletedBucket && NameOf(bucket - 1) == name) return bucket - 1;
  }
}

// For one more name in the hash table, if there is one or has to be.
void NameTable::MakeRoom() {
  if (Hashed() ? (extras_->used_buckets + 1) * 4 < extras_->buckets.size() * 3
               : slots_.size() < kSearched || (extras_ && !extras_->free.empty())) {
    return;
  }
  Rehash(std::bit_ceil((slots_.size() - extras().free.size() + 1) * 2));
}

NameTable::Slot NameTable::Insert(std::string_view name) {
  MakeRoom();
  Slot slot = 0;
  if (extras_ && !extras_->free.empty()) {
    slot = extras_->free.back();
    extras_->free.pop_back();
  } else {
    slot = end();
    slots_.emplace_back();
  }
  slots_[slot] = DirSlot{};
  slots_[slot].name_at = static_cast<std::uint32_t>(pool_.size());
  slots_[slot].name_length = static_cast<std::uint8_t>(name.size());
  pool_.insert(pool_.end(), name.begin(), name.end());
  if (!Hashed()) return slot;

  std::vector<std::uint32_t>& buckets = extras_->buckets;
  const std::size_t mask = buckets.size() - 1;
  std::size_t i = HashName(name) & mask;
  while (buckets[i] != kEmptyBucket && buckets[i] != kDeletedBucket) i = (i + 1) & mask;
  if (buckets[i] == kEmptyBucket) ++extras_->used_buckets;
  buckets[i] = slot + 1;
  return slot;
}

void NameTable::Erase(Slot slot) {
  if (Hashed()) {
    std::vector<std::uint32_t>& buckets = extras_->buckets;
    const std::size_t mask = buckets.size() - 1;
    std::size_t i = HashName(NameOf(slot)) & mask;
    while (buckets[i] != slot + 1) i = (i + 1) & mask;
    buckets[i] = kDeletedBucket;
  }
  Extras& extras = this->extras();
  extras.dead_bytes += slots_[slot].name_length;
  slots_[slot] = DirSlot{};
  extras.free.push_back(slot);
  if (extras.dead_bytes > 4096 && extras.dead_bytes * 2 > pool_.size()) CompactPool();
}

void NameTable::ShrinkToFit() {
  slots_.shrink_to_fit();
  pool_.shrink_to_fit();
  if (extras_) extras_->lists.shrink_to_fit();
}

bool NameTable::HasVisible() const {
  return std::ranges::any_of(
      slots_, [](const DirSlot& slot) { return slot.name_length != 0 && !slot.whiteout; });
}

std::vector<LayerIndex> NameTable::MergedLayers(Slot slot) const {
  const DirSlot& entry = slots_[slot];
  if (entry.merged == 0) return {entry.layer};
  const std::vector<std::uint16_t>& lists = extras_->lists;
  const auto first = lists.begin() + static_cast<std::ptrdiff_t>(entry.merged);
  return {first, first + lists[entry.merged - 1]};
}

void NameTable::SetMergedLayers(Slot slot, const std::vector<LayerIndex>& layers) {
  DirSlot& entry = slots_[slot];
  entry.layer = layers.front();
  if (layers.size() == 1) {
    entry.merged = 0;
    return;
  }
  constexpr std::uint32_t kMaxMerged = (std::uint32_t{1} << 29U) - 1;
  std::vector<std::uint16_t>& lists = extras().lists;
  assert(lists.size() < kMaxMerged);
  entry.merged = static_cast<std::uint32_t>(lists.size() + 1) & kMaxMerged;
  lists.push_back(static_cast<std::uint16_t>(layers.size()));
  lists.insert(lists.end(), layers.begin(), layers.end());
}

void NameTable::Rehash(std::size_t size) {
  std::vector<std::uint32_t>& buckets = extras().buckets;
  buckets.assign(size, kEmptyBucket);
  extras_->used_buckets = 0;
  const std::size_t mask = size - 1;
  for (Slot slot = 0; slot < end(); ++slot) {
    if (!InUse(slot)) continue;
    std::size_t i = HashName(NameOf(slot)) & mask;
    while (buckets[i] != kEmptyBucket) i = (i + 1) & mask;
    buckets[i] = slot + 1;
    ++extras_->used_buckets;
  }
}

void NameTable::CompactPool() {
  std::vector<char> compact;
  compact.reserve(pool_.size() - extras_->dead_bytes);
  for (Slot slot = 0; slot < end(); ++slot) {
    if (!InUse(slot)) continue;
    const std::string_view name = NameOf(slot);
    slots_[slot].name_at = static_cast<std::uint32_t>(compact.size());
    compact.insert(compact.end(), name.begin(), name.end());
  }
  pool_ = std::move(compact);
  extras_->dead_bytes = 0;
}

}  // namespace strata::fusefs
