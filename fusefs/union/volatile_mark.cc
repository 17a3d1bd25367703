#include "fusefs/union/volatile_mark.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/remove_tree.h"
#include "base/try.h"

namespace strata::fusefs {
namespace {

constexpr char kVolatileName[] = "volatile";
constexpr char kDirtyName[] = "dirty";
constexpr int kDirectoryToMark = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;

Result<UniqueFd> MakeMarkDirectory(FileOps& files, int dir, const char* name) {
  STRATA_TRY(files.MakeDir(dir, name, 0700));
  return files.Open(dir, name, kDirectoryToMark);
}

Result<> WriteMark(FileOps& files, int work_root, int staging) {
  STRATA_TRY_ASSIGN(const UniqueFd incompat, MakeMarkDirectory(files, staging, kIncompatName));
  STRATA_TRY_ASSIGN(const UniqueFd mark, MakeMarkDirectory(files, incompat.get(), kVolatileName));
  STRATA_TRY_ASSIGN(
      const UniqueFd dirty,
      files.Open(mark.get(), kDirtyName, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  for (const int fd : {dirty.get(), mark.get(), incompat.get(), staging, work_root}) {
    STRATA_TRY(files.Sync(fd));
  }
  return {};
}

}  // namespace

Result<> CheckUnmarked(FileOps& files, int staging) {
  auto incompat = files.Open(staging, kIncompatName, kDirectoryToMark);
  if (!incompat && incompat.error().code() == ENOENT) return {};
  if (!incompat) {
    return std::unexpected(std::move(incompat).error().WithContext("work/incompat"));
  }
  STRATA_TRY_ASSIGN(const std::vector<std::string> marks, NamesIn(files, incompat->get()));
  if (marks.empty()) return {};
  if (std::ranges::find(marks, kVolatileName) != marks.end()) {
    return Fail(
        EINVAL, "",
        "upperdir was used with 'volatile' and never synced (work/incompat/volatile is there): "
        "what was written last may be missing or damaged; start over with an empty upperdir "
        "and workdir, or, if its content is known to be good, remove work/incompat in the "
        "workdir and mount again");
  }
  return Fail(EINVAL, "",
              "upperdir has the feature '" + std::ranges::min(marks) + "' (work/incompat/" +
                  std::ranges::min(marks) + "), which is not known here");
}

Result<> SetVolatileMark(FileOps& files, int work_root, int staging) {
  auto written = WriteMark(files, work_root, staging);
  if (!written) Ignore(RemoveTree(files, staging, kIncompatName), "a mark half made");
  return written;
}

Result<> SyncAndClearVolatileMark(FileOps& files, int work_root, int staging) {
  STRATA_TRY(files.SyncFilesystem(work_root));
  STRATA_TRY(RemoveTree(files, staging, kIncompatName));
  return files.Sync(staging);
}

}  // namespace strata::fusefs
