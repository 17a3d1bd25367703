#include "layerstore/diff/lower_links.h"

#include <fcntl.h>

#include <algorithm>

#include "base/path.h"
#include "base/same_time.h"
#include "base/try.h"

namespace strata::layerstore {
namespace {

constexpr std::uint64_t kResolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;

Result<bool> HasIndex(FileOps& ops, const std::string& work_dir) {
  const std::string path = JoinPath(work_dir, "index");
  auto index = ops.Open(AT_FDCWD, path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!index) {
    if (index.error().code() == ENOENT) return false;
    return std::unexpected(std::move(index).error().WithContext(path));
  }
  STRATA_TRY_ASSIGN(const auto names, NamesIn(ops, index->get()));
  return !names.empty();
}

// Nothing if it is not there, also because something on the way is no directory.
Result<std::optional<struct stat>> Find(FileOps& ops, int root, const std::string& path) {
  auto file = ops.OpenConfined(root, path.c_str(), O_PATH | O_NOFOLLOW, 0, kResolve);
  if (!file) {
    const int code = file.error().code();
    if (code == ENOENT || code == ENOTDIR || code == ELOOP) return std::optional<struct stat>();
    return std::unexpected(std::move(file).error().WithContext(path));
  }
  STRATA_TRY_ASSIGN(const struct stat st, ops.Stat(file->get()));
  return std::optional(st);
}

}  // namespace

Result<std::vector<std::string>> FindLowerLinks(FileOps& ops, const std::string& work_dir,
                                                const MetadataIndex& chain,
                                                const std::function<Result<UniqueFd>()>& open_union,
                                                int upper) {
  std::vector<std::string> links;
  STRATA_TRY_ASSIGN(const bool any, HasIndex(ops, work_dir));
  if (!any) return links;
  STRATA_TRY_ASSIGN(const UniqueFd root, open_union());
  for (MetadataIndex::Directory dir = 0; dir < chain.directories(); ++dir) {
    STRATA_TRY_ASSIGN(const auto names, chain.List(dir));
    std::optional<std::string> path;
    for (auto number = names.first; number != names.end(); ++number) {
      STRATA_TRY_ASSIGN(const auto entry, chain.At(number));
      if (entry.directory || entry.whiteout || entry.attr.st_nlink < 2) continue;
      if (!path) {
        STRATA_TRY_ASSIGN(path, chain.PathOf(dir));
      }
      const std::string name = JoinPath(*path, entry.name);
      STRATA_TRY_ASSIGN(const auto own, Find(ops, upper, name));
      if (own) continue;  // the upper layer has this name itself
      STRATA_TRY_ASSIGN(const auto shown, Find(ops, root.get(), name));
      if (shown && !SameTime(shown->st_ctim, entry.attr.st_ctim)) links.push_back(name);
    }
  }
  std::ranges::sort(links);
  return links;
}

}  // namespace strata::layerstore
