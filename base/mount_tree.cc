#include "base/mount_tree.h"

#include <fcntl.h>
#include <sys/mount.h>

namespace strata {

Result<MountTree> OpenReadOnlyTree(const std::string& path) {
  // Opened the plain way first: the errors of a wrong path are the clear ones, and automounts
  // happen here.
  UniqueFd plain(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!plain) return FailErrno("open", path);

  UniqueFd clone(::open_tree(plain.get(), "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH));
  if (!clone) return MountTree{std::move(plain), false};
  mount_attr attr{};
  attr.attr_set = MOUNT_ATTR_RDONLY;
  if (::mount_setattr(clone.get(), "", AT_EMPTY_PATH, &attr, sizeof attr) != 0) {
    return MountTree{std::move(plain), false};
  }
  return MountTree{std::move(clone), true};
}

}  // namespace strata
