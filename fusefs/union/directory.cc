#include "fusefs/union/directory.h"

#include <algorithm>
#include <functional>

namespace strata::fusefs {
namespace {

constexpr std::uint32_t kEmptyBucket = 0;
constexpr std::uint32_t kDeletedBucket = ~std::uint32_t{0};

std::size_t HashName(std::string_view name) { return std::hash<std::string_view>{}(name); }

}  // namespace

NameTable::Slot NameTable::Find(std::string_view name) const {
  if (buckets_.empty()) return kNone;
  const std::size_t mask = buckets_.size() - 1;
  for (std::size_t i = HashName(name) & mask;; i = (i + 1) & mask) {
    const std::uint32_t bucket = buckets_[i];
    if (bucket == kEmptyBucket) return kNone;
    if (bucket != kDeletedBucket && NameOf(bucket - 1) == name) return bucket - 1;
  }
}

NameTable::Slot NameTable::Insert(std::string_view name) {
  if ((used_buckets_ + 1) * 4 >= buckets_.size() * 3) {
    Rehash(std::max<std::size_t>(8, std::bit_ceil((slots_.size() - free_.size() + 1) * 2)));
  }
  Slot slot = 0;
  if (!free_.empty()) {
    slot = free_.back();
    free_.pop_back();
  } else {
    slot = end();
    slots_.emplace_back();
  }
  slots_[slot] = DirSlot{};
  slots_[slot].name_at = static_cast<std::uint32_t>(pool_.size());
  slots_[slot].name_length = static_cast<std::uint8_t>(name.size());
  pool_.append(name);

  const std::size_t mask = buckets_.size() - 1;
  std::size_t i = HashName(name) & mask;
  while (buckets_[i] != kEmptyBucket && buckets_[i] != kDeletedBucket) i = (i + 1) & mask;
  if (buckets_[i] == kEmptyBucket) ++used_buckets_;
  buckets_[i] = slot + 1;
  return slot;
}

void NameTable::Erase(Slot slot) {
  const std::size_t mask = buckets_.size() - 1;
  std::size_t i = HashName(NameOf(slot)) & mask;
  while (buckets_[i] != slot + 1) i = (i + 1) & mask;
  buckets_[i] = kDeletedBucket;
  dead_bytes_ += slots_[slot].name_length;
  slots_[slot] = DirSlot{};
  free_.push_back(slot);
  if (dead_bytes_ > 4096 && dead_bytes_ * 2 > pool_.size()) CompactPool();
}

void NameTable::ShrinkToFit() {
  slots_.shrink_to_fit();
  pool_.shrink_to_fit();
  lists_.shrink_to_fit();
}

bool NameTable::HasVisible() const {
  return std::ranges::any_of(
      slots_, [](const DirSlot& slot) { return slot.name_length != 0 && !slot.whiteout; });
}

std::vector<LayerIndex> NameTable::MergedLayers(Slot slot) const {
  const DirSlot& entry = slots_[slot];
  if (entry.merged == 0) return {entry.layer};
  const auto first = lists_.begin() + static_cast<std::ptrdiff_t>(entry.merged);
  return {first, first + lists_[entry.merged - 1]};
}

void NameTable::SetMergedLayers(Slot slot, const std::vector<LayerIndex>& layers) {
  DirSlot& entry = slots_[slot];
  entry.layer = layers.front();
  if (layers.size() == 1) {
    entry.merged = 0;
    return;
  }
  entry.merged = static_cast<std::uint32_t>(lists_.size() + 1);
  lists_.push_back(static_cast<std::uint16_t>(layers.size()));
  lists_.insert(lists_.end(), layers.begin(), layers.end());
}

void NameTable::Rehash(std::size_t buckets) {
  buckets_.assign(buckets, kEmptyBucket);
  used_buckets_ = 0;
  const std::size_t mask = buckets - 1;
  for (Slot slot = 0; slot < end(); ++slot) {
    if (!InUse(slot)) continue;
    std::size_t i = HashName(NameOf(slot)) & mask;
    while (buckets_[i] != kEmptyBucket) i = (i + 1) & mask;
    buckets_[i] = slot + 1;
    ++used_buckets_;
  }
}

void NameTable::CompactPool() {
  std::string compact;
  compact.reserve(pool_.size() - dead_bytes_);
  for (DirSlot& slot : slots_) {
    if (slot.name_length == 0) continue;
    const std::string_view name(pool_.data() + slot.name_at, slot.name_length);
    slot.name_at = static_cast<std::uint32_t>(compact.size());
    compact.append(name);
  }
  pool_ = std::move(compact);
  dead_bytes_ = 0;
}

}  // namespace strata::fusefs
