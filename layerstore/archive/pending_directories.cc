#include "layerstore/archive/pending_directories.h"

#include <iterator>
#include <utility>

#include "layerstore/archive/subtree.h"

namespace strata::layerstore {

const DirectoryEnd* PendingDirectories::Use(std::string_view path) {
  const auto it = directories_.find(path);
  if (it == directories_.end()) return nullptr;
  uses_.splice(uses_.begin(), uses_, it->second.use);
  return &it->second.end;
}

void PendingDirectories::Put(const std::string& path, DirectoryEnd end) {
  const auto [it, added] = directories_.try_emplace(path);
  if (added) {
    uses_.push_front(it->first);
    it->second.use = uses_.begin();
  } else {
    bytes_ -= Bytes(path, it->second.end);
    uses_.splice(uses_.begin(), uses_, it->second.use);
  }
  bytes_ += Bytes(path, end);
  it->second.end = std::move(end);
}

void PendingDirectories::Forget(std::string_view path) {
  EraseSubtree(directories_, path, [this](Map::iterator it) { return Erase(it); });
}

std::optional<PendingDirectories::Directory> PendingDirectories::TakeExcess() {
  if (directories_.size() <= count_max_ && bytes_ <= bytes_max_) return std::nullopt;
  return Take(directories_.find(uses_.back()));
}

std::optional<PendingDirectories::Directory> PendingDirectories::TakeLast() {
  if (directories_.empty()) return std::nullopt;
  return Take(std::prev(directories_.end()));
}

PendingDirectories::Map::iterator PendingDirectories::Erase(Map::iterator it) {
  bytes_ -= Bytes(it->first, it->second.end);
  uses_.erase(it->second.use);
  return directories_.erase(it);
}

PendingDirectories::Directory PendingDirectories::Take(Map::iterator it) {
  Directory taken{it->first, it->second.end};
  Erase(it);
  return taken;
}

}  // namespace strata::layerstore
