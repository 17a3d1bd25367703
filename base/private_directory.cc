#include "base/private_directory.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <vector>

#include "base/file_ops.h"
#include "base/logging.h"
#include "base/path.h"
#include "base/remove_tree.h"
#include "base/try.h"
#include "base/unique_fd.h"

namespace strata {
namespace {

constexpr std::string_view kRandom = "XXXXXX";
constexpr int kDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;

Result<> Remove(const std::string& path) {
  FileOps& ops = FileOps::System();
  STRATA_TRY_ASSIGN(const UniqueFd above,
                    ops.Open(AT_FDCWD, std::string(DirName(path)).c_str(), O_PATH | O_DIRECTORY));
  return RemoveTree(ops, above.get(), std::string(BaseName(path)).c_str());
}

// The lock of base/name, if that is a directory of this user that nobody has. What is gone, or was
// exchanged for something else, is nobody's either.
Result<std::optional<FileLock>> Claim(FileOps& ops, int base, const std::string& name) {
  auto fd = ops.Open(base, name.c_str(), kDirectory);
  if (!fd) {
    const int code = fd.error().code();
    const bool ours = code != ENOENT && code != ENOTDIR && code != ELOOP && code != EACCES;
    if (ours) return std::unexpected(std::move(fd).error());
    return std::optional<FileLock>();
  }
  STRATA_TRY_ASSIGN(const struct stat opened, ops.Stat(fd->get()));
  if (opened.st_uid != ::geteuid()) return std::optional<FileLock>();
  auto lock = FileLock::TryAcquire(std::move(*fd));
  if (!lock && lock.error().code() == EWOULDBLOCK) return std::optional<FileLock>();
  if (!lock) return std::unexpected(std::move(lock).error());
  const auto named = ops.StatAt(base, name.c_str());
  const bool same = named && named->st_dev == opened.st_dev && named->st_ino == opened.st_ino;
  return same ? std::optional(std::move(*lock)) : std::nullopt;
}

// Of processes that died.
Result<> RemoveLeft(FileOps& ops, const std::string& base, std::string_view prefix) {
  STRATA_TRY_ASSIGN(const UniqueFd dir, ops.Open(AT_FDCWD, base.c_str(), O_RDONLY | O_DIRECTORY));
  STRATA_TRY_ASSIGN(const std::vector<std::string> names, NamesIn(ops, dir.get()));
  for (const std::string& name : names) {
    if (!name.starts_with(prefix) || name.size() != prefix.size() + kRandom.size()) continue;
    STRATA_TRY_ASSIGN(const auto lock, Claim(ops, dir.get(), name));
    if (lock) STRATA_TRY(RemoveTree(ops, dir.get(), name.c_str()));
  }
  return {};
}

}  // namespace

Result<PrivateDirectory> PrivateDirectory::Make(std::string_view prefix) {
  constexpr int kAttempts = 100;
  std::error_code code;
  auto base = std::filesystem::temp_directory_path(code);
  if (!code) base = std::filesystem::absolute(base, code);
  if (code) return Fail(code.value(), "mkdtemp", "no directory for temporary files");
  if (auto removed = RemoveLeft(FileOps::System(), base.string(), prefix); !removed) {
    log::Warn("what a dead process left can not be removed",
              {{"error", removed.error().ToString()}});
  }
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    std::string path = JoinPath(base.string(), std::string(prefix) + std::string(kRandom));
    if (::mkdtemp(path.data()) == nullptr) return FailErrno("mkdtemp", path);
    // Somebody else's RemoveLeft() may have come in between.
    STRATA_TRY_ASSIGN(auto lock, Claim(FileOps::System(), AT_FDCWD, path));
    if (lock) return PrivateDirectory(std::move(path), std::move(*lock));
  }
  return Fail(EAGAIN, "mkdtemp", "a fresh directory was taken away again and again");
}

PrivateDirectory::~PrivateDirectory() {
  if (path_.empty()) return;
  Ignore(Remove(path_), "the next process that makes one removes it");
}

}  // namespace strata
