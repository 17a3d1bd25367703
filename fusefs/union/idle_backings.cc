#include "fusefs/union/idle_backings.h"

namespace strata::fusefs {

std::optional<std::int32_t> IdleBackings::Take(NodeIndex node) {
  MutexLock lock(mu_);
  const auto found = by_node_.find(node);
  if (found == by_node_.end()) return std::nullopt;
  const std::int32_t id = found->second->second;
  order_.erase(found->second);
  by_node_.erase(found);
  return id;
}

std::optional<std::int32_t> IdleBackings::Put(NodeIndex node, std::int32_t id) {
  MutexLock lock(mu_);
  if (const auto found = by_node_.find(node); found != by_node_.end()) {
    return std::exchange(found->second->second, id);
  }
  order_.emplace_back(node, id);
  by_node_.emplace(node, std::prev(order_.end()));
  if (order_.size() <= capacity_) return std::nullopt;
  const auto [oldest, dropped] = order_.front();
  order_.pop_front();
  by_node_.erase(oldest);
  return dropped;
}

}  // namespace strata::fusefs
