#include "layerstore/recipe/replaced_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "base/copy_bytes.h"
#include "base/path.h"
#include "base/remove_tree.h"
#include "base/try.h"
#include "layerstore/archive/confined_tree.h"
#include "layerstore/recipe/format.h"

namespace strata::layerstore {
namespace {

constexpr mode_t kPrivateDirectory = 0700;
constexpr mode_t kPrivateFile = 0600;
constexpr const char* kCopies = "copies";  // in the staged layer, while Unshare() runs
constexpr const char* kNewName = "new";    // in it
constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;

}  // namespace

Result<std::uint64_t> ReplacedFiles::Take(int parent, const char* name) {
  if (!dir_) {
    STRATA_TRY(ops_.MakeDir(layer_dir_, recipe::kReplacedName, kPrivateDirectory));
    STRATA_TRY_ASSIGN(dir_, ops_.Open(layer_dir_, recipe::kReplacedName, kDirectoryFlags));
  }
  STRATA_TRY(ops_.Rename(parent, name, dir_.get(), std::to_string(count_).c_str()));
  return count_++;
}

Result<> ReplacedFiles::Unshare() {
  if (!dir_) return {};
  STRATA_TRY(ops_.MakeDir(layer_dir_, kCopies, kPrivateDirectory));
  STRATA_TRY_ASSIGN(const UniqueFd copies, ops_.Open(layer_dir_, kCopies, kDirectoryFlags));
  ConfinedTree tree(ops_, dir_.get());
  std::vector<std::string> directories{""};
  while (!directories.empty()) {
    const std::string path = std::move(directories.back());
    directories.pop_back();
    STRATA_TRY_ASSIGN(const int found, tree.Open(path));
    STRATA_TRY_ASSIGN(const UniqueFd dir, ops_.Open(found, ".", kDirectoryFlags));
    STRATA_TRY_ASSIGN(const std::vector<std::string> names, NamesIn(ops_, dir.get()));
    for (const std::string& name : names) {
      STRATA_TRY_ASSIGN(const struct stat st, ops_.StatAt(dir.get(), name.c_str()));
      if (S_ISDIR(st.st_mode)) directories.push_back(JoinPath(path, name));
      if (!S_ISREG(st.st_mode) || st.st_nlink == 1) continue;
      STRATA_TRY(UnshareFile(dir.get(), name, st, copies.get()));
    }
  }
  return RemoveTree(ops_, layer_dir_, kCopies);
}

// The copy is found again by the file's number, which no other file gets: the last name of a file
// is never taken away here.
Result<> ReplacedFiles::UnshareFile(int dir, const std::string& name, const struct stat& st,
                                    int copies) {
  const std::string copy = std::to_string(st.st_ino);
  auto linked = ops_.Link(copies, copy.c_str(), copies, kNewName);
  if (!linked) {
    if (linked.error().code() == EMLINK) {
      STRATA_TRY(ops_.Unlink(copies, copy.c_str()));
    } else if (linked.error().code() != ENOENT) {
      return linked;
    }
    STRATA_TRY(Copy(dir, name, st.st_size, copies, copy));
    STRATA_TRY(ops_.Link(copies, copy.c_str(), copies, kNewName));
  }
  return ops_.Rename(copies, kNewName, dir, name.c_str());
}

Result<> ReplacedFiles::Copy(int dir, const std::string& name, off_t size, int copies,
                             const std::string& copy) {
  STRATA_TRY_ASSIGN(const UniqueFd from,
                    ops_.Open(dir, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  STRATA_TRY_ASSIGN(const UniqueFd to,
                    ops_.Open(copies, copy.c_str(), O_WRONLY | O_CREAT | O_EXCL, kPrivateFile));
  if (ops_.Clone(from.get(), to.get())) return {};
  off_t end = 0;
  for (;;) {
    auto data = ops_.Seek(from.get(), end, SEEK_DATA);
    if (!data) {
      if (data.error().code() == ENXIO) return ops_.Truncate(to.get(), size);
      return std::unexpected(std::move(data).error());
    }
    STRATA_TRY_ASSIGN(end, ops_.Seek(from.get(), *data, SEEK_HOLE));
    STRATA_TRY_ASSIGN(const off_t copied, CopyBytes(ops_, from.get(), to.get(), *data, end));
    if (copied < end) return Fail(EIO, "copy a replaced file", name);
  }
}

}  // namespace strata::layerstore
