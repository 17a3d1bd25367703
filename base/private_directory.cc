#include "base/private_directory.h"

#include <fcntl.h>
#include <stdlib.h>

#include <filesystem>

#include "base/file_ops.h"
#include "base/path.h"
#include "base/remove_tree.h"
#include "base/try.h"
#include "base/unique_fd.h"

namespace strata {
namespace {

Result<> Remove(const std::string& path) {
  FileOps& ops = FileOps::System();
  STRATA_TRY_ASSIGN(const UniqueFd above,
                    ops.Open(AT_FDCWD, std::string(DirName(path)).c_str(), O_PATH | O_DIRECTORY));
  return RemoveTree(ops, above.get(), std::string(BaseName(path)).c_str());
}

}  // namespace

Result<PrivateDirectory> PrivateDirectory::Make(std::string_view prefix) {
  std::error_code code;
  auto base = std::filesystem::temp_directory_path(code);
  if (!code) base = std::filesystem::absolute(base, code);
  if (code) return Fail(code.value(), "mkdtemp", "no directory for temporary files");
  std::string path = JoinPath(base.string(), std::string(prefix) + "XXXXXX");
  if (::mkdtemp(path.data()) == nullptr) return FailErrno("mkdtemp", path);
  return PrivateDirectory(std::move(path));
}

PrivateDirectory::~PrivateDirectory() {
  if (path_.empty()) return;
  Ignore(Remove(path_), "it is left to whoever cleans the directory for temporary files");
}

}  // namespace strata
