// Maps from normalised paths, as trees.
#pragma once

#include <string>
#include <string_view>

namespace strata::layerstore {

// Calls `erase(iterator)`, which erases and gives the next one, for `path` and all below it.
// In order of bytes other names stand between "a" and "a/b" ("a-"), so this is no single range.
template <class Map, class Erase>
void EraseSubtree(Map& map, std::string_view path, Erase erase) {
  if (const auto it = map.find(path); it != map.end()) erase(it);
  const std::string below = std::string(path) + '/';
  auto it = map.lower_bound(below);
  while (it != map.end() && it->first.starts_with(below)) it = erase(it);
}

}  // namespace strata::layerstore
