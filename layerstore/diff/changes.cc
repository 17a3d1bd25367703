#include "layerstore/diff/changes.h"

#include <algorithm>
#include <optional>
#include <set>

#include "base/path.h"
#include "base/try.h"
#include "layerstore/index/marks.h"

namespace strata::layerstore {

Result<bool> ChainNames::Has(const std::string& path) const {
  STRATA_TRY_ASSIGN(const auto directory, chain_.FindDirectory(DirName(path)));
  if (!directory) return false;
  STRATA_TRY_ASSIGN(const auto found, chain_.Find(*directory, BaseName(path)));
  if (!found) return false;
  STRATA_TRY_ASSIGN(const auto entry, chain_.NameAt(*found));
  return !entry.whiteout;
}

Result<std::vector<std::string>> ChainNames::In(const std::string& directory) const {
  std::vector<std::string> names;
  STRATA_TRY_ASSIGN(const auto found, chain_.FindDirectory(directory));
  if (!found) return names;
  STRATA_TRY_ASSIGN(const auto list, chain_.List(*found));
  for (auto number = list.first; number != list.end(); ++number) {
    STRATA_TRY_ASSIGN(const auto entry, chain_.NameAt(number));
    if (!entry.whiteout) names.emplace_back(entry.name);
  }
  return names;
}

Result<std::vector<Change>> ListChanges(FileOps& ops, const UpperLayer& upper,
                                        const LowerNames& lower) {
  STRATA_TRY_ASSIGN(const std::vector<std::string> paths, ListLayerDiff(ops, upper));
  const std::set<std::string> all(paths.begin(), paths.end());
  std::vector<Change> changes;
  const auto deleted = [&](const std::string& path) {
    changes.push_back({"/" + path, ChangeKind::kDeleted});
  };
  for (const std::string& path : paths) {
    const std::string_view name = BaseName(path);
    if (path == "./") continue;
    if (name == kOpaqueMarker) {
      const std::string directory(DirName(path));
      STRATA_TRY_ASSIGN(const auto hidden, lower.In(directory));
      for (const std::string& one : hidden) {
        const std::string below = JoinPath(directory, one);
        if (!all.contains(below)) deleted(below);
      }
    } else if (name.starts_with(kWhiteoutPrefix)) {
      const std::string hidden = JoinPath(DirName(path), name.substr(kWhiteoutPrefix.size()));
      STRATA_TRY_ASSIGN(const bool was, lower.Has(hidden));
      if (was) deleted(hidden);
    } else {
      STRATA_TRY_ASSIGN(const bool was, lower.Has(path));
      changes.push_back({"/" + path, was ? ChangeKind::kModified : ChangeKind::kAdded});
    }
  }
  std::ranges::sort(changes, {}, &Change::path);
  return changes;
}

}  // namespace strata::layerstore
