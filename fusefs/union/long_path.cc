#include "fusefs/union/long_path.h"

#include <memory>
#include <string>
#include <utility>

#include "base/path.h"
#include "base/try.h"

namespace strata::fusefs {

Result<SharedFd> OpenLongPath(FileOps& files, int root, std::string_view path, int flags) {
  if (path.size() < kPathMax) {
    const std::string text(path.empty() ? std::string_view(".") : path);
    STRATA_TRY_ASSIGN(UniqueFd fd, files.OpenConfined(root, text.c_str(), flags, 0,
                                                      RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
                                                          RESOLVE_NO_MAGICLINKS));
    return std::make_shared<const UniqueFd>(std::move(fd));
  }
  const std::size_t cut = path.rfind('/', kPathMax - 2);
  STRATA_TRY_ASSIGN(const SharedFd head, OpenLongPath(files, root, path.substr(0, cut),
                                                      O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  return OpenLongPath(files, head->get(), path.substr(cut + 1), flags);
}

}  // namespace strata::fusefs
