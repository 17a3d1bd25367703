#include "base/remove_tree.h"

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "base/try.h"

namespace strata {
namespace {

constexpr mode_t kOwnerAll = 0700;

class TreeRemover {
 public:
  TreeRemover(FileOps& ops, int dir, const char* name) : ops_(ops), dir_(dir), name_(name) {}

  Result<> Run() {
    STRATA_TRY(Remove(dir_, name_.c_str(), 0));
    while (!moved_up_.empty()) {
      const std::string name = std::move(moved_up_.back());
      moved_up_.pop_back();
      STRATA_TRY(Remove(dir_, name.c_str(), 0));
    }
    return {};
  }

 private:
  Result<> Remove(int dir, const char* name, int depth) {
    // Most entries are no directories, so try the cheap way first.
    auto unlinked = ops_.Unlink(dir, name);
    if (unlinked || unlinked.error().code() == ENOENT) return {};
    if (unlinked.error().code() != EISDIR && unlinked.error().code() != EPERM) return unlinked;
    return RemoveDirectory(dir, name, depth);
  }

  Result<> RemoveDirectory(int dir, const char* name, int depth) {
    if (depth == kRemoveDepthMax) return MoveUp(dir, name);
    auto fd = OpenDirectory(dir, name);
    if (!fd) {
      if (fd.error().code() == ENOENT) return {};
      return std::unexpected(std::move(fd).error().WithContext(name));
    }
    STRATA_TRY(Empty(fd->get(), depth));
    auto removed = ops_.Unlink(dir, name, AT_REMOVEDIR);
    if (removed || removed.error().code() == ENOENT) return {};
    return removed;
  }

  Result<UniqueFd> OpenDirectory(int dir, const char* name) {
    constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
    constexpr std::uint64_t kStay = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
    auto fd = ops_.OpenConfined(dir, name, kFlags, 0, kStay);
    if (fd || fd.error().code() != EACCES) return fd;
    // Not root, and a directory without read permission: it is ours, so make it readable.
    STRATA_TRY(ops_.ChmodAt(dir, name, kOwnerAll));
    return ops_.OpenConfined(dir, name, kFlags, 0, kStay);
  }

  Result<> Empty(int fd, int depth) {
    const auto names = NamesIn(ops_, fd);
    if (!names && names.error().code() == ENOENT) return {};  // somebody else has removed it
    if (!names) return Fail(names.error().code(), "getdents", name_);
    for (const std::string& name : *names) {
      auto removed = Remove(fd, name.c_str(), depth + 1);
      if (!removed && removed.error().code() == EACCES) {
        STRATA_TRY(ops_.Chmod(fd, kOwnerAll));
        removed = Remove(fd, name.c_str(), depth + 1);
      }
      if (!removed) return removed;
    }
    return {};
  }

  Result<> MoveUp(int dir, const char* name) {
    for (;;) {
      std::string up = ".strata-deep-" + std::to_string(++moved_);
      auto renamed = ops_.Rename(dir, name, dir_, up.c_str(), RENAME_NOREPLACE);
      if (!renamed && renamed.error().code() == EEXIST) continue;
      if (!renamed && renamed.error().code() == ENOENT) return {};
      if (renamed) moved_up_.push_back(std::move(up));
      return renamed;
    }
  }

  FileOps& ops_;
  const int dir_;
  const std::string name_;
  std::vector<std::string> moved_up_;
  unsigned moved_ = 0;
};

}  // namespace

Result<> RemoveTree(FileOps& ops, int dir, const char* name) {
  return TreeRemover(ops, dir, name).Run();
}

}  // namespace strata
