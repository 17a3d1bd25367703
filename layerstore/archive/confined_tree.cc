#include "layerstore/archive/confined_tree.h"

#include <algorithm>
#include <utility>

#include "base/path.h"
#include "base/try.h"
#include "layerstore/archive/entry_path.h"

namespace strata::layerstore {
namespace {

constexpr std::size_t kCachedDirectories = 32;
constexpr std::uint64_t kResolve =
    RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
constexpr int kFlags = O_PATH | O_DIRECTORY;

std::unexpected<Error> Explain(Error error, const std::string& path) {
  if (error.code() == ELOOP) {
    return Fail(ELOOP, "unpack", "escapes through a symlink in '" + ShownName(path) + "'");
  }
  if (error.code() == ENOTDIR)
    return Fail(ENOTDIR, "unpack", "'" + ShownName(path) + "' is not a directory");
  return std::unexpected(std::move(error).WithContext("'" + ShownName(path) + "'"));
}

}  // namespace

int* ConfinedTree::FindCached(const std::string& path) {
  for (Cached& cached : cache_) {
    if (cached.path != path) continue;
    cached.used = ++clock_;
    found_ = cached.fd.get();
    return &found_;
  }
  return nullptr;
}

int ConfinedTree::Remember(const std::string& path, UniqueFd fd) {
  const int result = fd.get();
  Cached entry{path, std::move(fd), ++clock_};
  if (cache_.size() < kCachedDirectories) {
    cache_.push_back(std::move(entry));
  } else {
    *std::min_element(cache_.begin(), cache_.end(), [](const Cached& a, const Cached& b) {
      return a.used < b.used;
    }) = std::move(entry);
  }
  return result;
}

Result<int> ConfinedTree::Open(const std::string& path) {
  return OpenOrMake(path,
                    [&](int, const std::string&, const std::string& missing, int why) -> Result<> {
                      return Fail(why, "unpack", "'" + missing + "'");
                    });
}

Result<int> ConfinedTree::OpenOrMake(const std::string& path, const MakeMissing& make_missing) {
  if (path.empty()) return root_;
  if (const int* cached = FindCached(path)) return *cached;
  if (path.size() < kPathMax) {
    auto fd = ops_.OpenConfined(root_, path.c_str(), kFlags, 0, kResolve);
    if (fd) return Remember(path, std::move(*fd));
    if (fd.error().code() != ENOENT && fd.error().code() != ENOTDIR) {
      return Explain(std::move(fd).error(), path);
    }
  }
  return OpenStep(path, make_missing);
}

// One component at a time, making what is missing.
Result<int> ConfinedTree::OpenStep(const std::string& path, const MakeMissing& make_missing) {
  STRATA_TRY_ASSIGN(const int parent, OpenOrMake(std::string(DirName(path)), make_missing));
  const std::string name(BaseName(path));
  auto fd = ops_.OpenConfined(parent, name.c_str(), kFlags, 0, kResolve);
  if (!fd && (fd.error().code() == ENOENT || fd.error().code() == ENOTDIR)) {
    STRATA_TRY(make_missing(parent, name, path, fd.error().code()));
    fd = ops_.OpenConfined(parent, name.c_str(), kFlags, 0, kResolve);
  }
  if (!fd) return Explain(std::move(fd).error(), path);
  return Remember(path, std::move(*fd));
}

void ConfinedTree::Forget(std::string_view path) {
  std::erase_if(cache_, [&](const Cached& cached) {
    const std::string_view other = cached.path;
    return other == path ||
           (other.size() > path.size() && other.starts_with(path) && other[path.size()] == '/');
  });
}

}  // namespace strata::layerstore
