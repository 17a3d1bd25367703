#include "base/replace_file.h"

#include <fcntl.h>

#include "base/try.h"
#include "base/unique_fd.h"

namespace strata {
namespace {

Result<> WriteAndRename(FileOps& ops, int dir, const std::string& temp, const std::string& name,
                        std::string_view content, mode_t mode) {
  STRATA_TRY_ASSIGN(const UniqueFd file,
                    ops.Open(dir, temp.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode));
  STRATA_TRY(WriteAll(ops, file.get(), content));
  STRATA_TRY(ops.Sync(file.get()));
  return ops.Rename(dir, temp.c_str(), dir, name.c_str());
}

}  // namespace

Result<> ReplaceFile(FileOps& ops, int dir, const std::string& name, std::string_view content,
                     mode_t mode) {
  const std::string temp = name + ".new";
  if (auto written = WriteAndRename(ops, dir, temp, name, content, mode); !written) {
    Ignore(ops.Unlink(dir, temp.c_str()), "the next call takes it over");
    return written;
  }
  return ops.Sync(dir);
}

}  // namespace strata
