// What the engine keeps about some nodes beside their records: shared objects by node index.
#pragma once

#include <array>
#include <memory>
#include <unordered_map>

#include "base/mutex.h"
#include "fusefs/union/node_table.h"

namespace strata::fusefs {

// Thread-safe; striped.
template <class T>
class SideTable {
 public:
  std::shared_ptr<T> Find(NodeIndex node) const {
    const Stripe& stripe = StripeOf(node);
    MutexLock lock(stripe.mu);
    const auto found = stripe.items.find(node);
    return found == stripe.items.end() ? nullptr : found->second;
  }

  // What is there for the node, made by `make` if there was nothing.
  template <class Make>
  std::shared_ptr<T> FindOrMake(NodeIndex node, Make make) {
    Stripe& stripe = StripeOf(node);
    MutexLock lock(stripe.mu);
    auto& item = stripe.items[node];
    if (!item) item = make();
    return item;
  }

  void Put(NodeIndex node, std::shared_ptr<T> item) {
    Stripe& stripe = StripeOf(node);
    MutexLock lock(stripe.mu);
    stripe.items[node] = std::move(item);
  }

  // The item is destroyed outside the lock.
  std::shared_ptr<T> Take(NodeIndex node) {
    Stripe& stripe = StripeOf(node);
    MutexLock lock(stripe.mu);
    const auto found = stripe.items.find(node);
    if (found == stripe.items.end()) return nullptr;
    auto item = std::move(found->second);
    stripe.Remove(found);
    return item;
  }

  // Removes the node's item if it still is this one.
  void Erase(NodeIndex node, const std::shared_ptr<T>& item) {
    Stripe& stripe = StripeOf(node);
    MutexLock lock(stripe.mu);
    const auto found = stripe.items.find(node);
    if (found != stripe.items.end() && found->second == item) stripe.Remove(found);
  }

  std::size_t size() const {
    std::size_t total = 0;
    for (const Stripe& stripe : stripes_) {
      MutexLock lock(stripe.mu);
      total += stripe.items.size();
    }
    return total;
  }

 private:
  static constexpr std::size_t kStripes = 64;
  static constexpr std::size_t kKept = 64;  // buckets
  struct Stripe {
    using Items = std::unordered_map<NodeIndex, std::shared_ptr<T>>;
    // Gives back the space of what were many.
    void Remove(Items::iterator item) STRATA_REQUIRES(mu) {
      items.erase(item);
      if (items.bucket_count() > kKept && items.size() * 8 < items.bucket_count()) items.rehash(0);
    }

    mutable Mutex mu;  // rank 68: nothing is taken under it
    Items items STRATA_GUARDED_BY(mu);
  };
  Stripe& StripeOf(NodeIndex node) { return stripes_[node % kStripes]; }
  const Stripe& StripeOf(NodeIndex node) const { return stripes_[node % kStripes]; }

  std::array<Stripe, kStripes> stripes_;
};

}  // namespace strata::fusefs
