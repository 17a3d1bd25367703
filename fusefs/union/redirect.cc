#include "fusefs/union/redirect.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/path.h"
#include "base/try.h"
#include "layerstore/index/marks.h"

namespace strata::fusefs {
namespace {

// The xattr's value, if `listed` has it.
Result<std::optional<std::string>> ValueOf(FileOps& files, int dir,
                                           const std::vector<std::string>& listed,
                                           const std::string& name) {
  if (std::ranges::find(listed, name) == listed.end()) return std::optional<std::string>();
  auto value = files.GetXattr(dir, name.c_str());
  if (value) return std::optional<std::string>(std::move(*value));
  const int code = value.error().code();
  if (code == ENODATA || code == EPERM) return std::optional<std::string>();
  return std::unexpected(std::move(value).error());
}

}  // namespace

Result<DirectoryMarks> ReadDirectoryMarks(FileOps& files, const OverlayXattrs& xattrs, int dir) {
  DirectoryMarks marks;
  // One call instead of two: nearly all directories have neither mark.
  auto listed = files.ListXattr(dir);
  if (!listed) {
    if (listed.error().code() == EOPNOTSUPP) return marks;
    return std::unexpected(std::move(listed).error());
  }
  STRATA_TRY_ASSIGN(const auto opaque, ValueOf(files, dir, *listed, xattrs.Opaque()));
  marks.opaque = opaque == "y";
  if (marks.opaque) return marks;  // wins over a redirect, as in kernel overlayfs
  STRATA_TRY_ASSIGN(marks.redirect, ValueOf(files, dir, *listed, xattrs.Redirect()));
  if (marks.redirect && !layerstore::IsRedirect(*marks.redirect)) {
    return Fail(EINVAL, "redirect", "'" + *marks.redirect + "' is not a redirect");
  }
  return marks;
}

Result<std::optional<RedirectWalk::Found>> RedirectWalk::In(int layer_root) {
  const std::string here = path_;
  UniqueFd current;
  std::size_t start = 0;
  while (start <= here.size()) {
    const std::size_t slash = std::min(here.find('/', start), here.size());
    const std::string name = here.substr(start, slash - start);
    const std::string_view rest = std::string_view(here).substr(slash);  // with its slash, or empty
    const int parent = current ? current.get() : layer_root;

    auto opened = files_.Open(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!opened) {
      const int code = opened.error().code();
      if (code == ENOENT) return std::nullopt;
      if (code == ENOTDIR || code == ELOOP) {
        ended_ = true;  // a whiteout or a file hides whatever is below
        return std::nullopt;
      }
      return std::unexpected(std::move(opened).error());
    }
    STRATA_TRY_ASSIGN(const DirectoryMarks marks,
                      ReadDirectoryMarks(files_, xattrs_, opened->get()));
    if (marks.redirect) {
      // Absolute, it leads out of whatever opaque directory was passed on the way.
      if (marks.redirect->starts_with('/')) ended_ = false;
      path_ = marks.redirect->starts_with('/')
                  ? marks.redirect->substr(1).append(rest)
                  : here.substr(0, start).append(*marks.redirect).append(rest);
    } else if (marks.opaque) {
      ended_ = true;
    }
    current = std::move(*opened);
    start = slash + 1;
  }
  return Found{std::move(current), here};
}

}  // namespace strata::fusefs
