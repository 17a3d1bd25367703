#include "layerstore/layer/verity_guard.h"

#include <dirent.h>
#include <sys/stat.h>

#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/inode_flags.h"
#include "base/path.h"
#include "base/try.h"
#include "base/verity.h"
#include "layerstore/archive/confined_tree.h"

namespace strata::layerstore {
namespace {

constexpr const char* kRecipe = "recipe";
constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;

bool IsUnsupported(int code) {
  // EINVAL: not with blocks of this size.
  return code == ENOTTY || code == EOPNOTSUPP || code == ENOSYS || code == EINVAL;
}

// One layer's files.
class LayerGuarding {
 public:
  LayerGuarding(FileOps& ops, int layer_dir, std::int64_t from_bytes)
      : ops_(ops), layer_dir_(layer_dir), from_bytes_(from_bytes) {}

  Result<> Run() {
    auto since = BirthOf(layer_dir_);
    if (!since) return std::unexpected(std::move(since).error());
    since_ = *since;
    for (const char* tree : {"fs", "replaced"}) STRATA_TRY(GuardTree(tree));
    if (left_out_) return {};
    return GuardFile(layer_dir_, kRecipe);
  }

 private:
  using Moment = std::pair<std::int64_t, std::int64_t>;

  Result<> GuardTree(const char* name) {
    const auto root = ops_.Open(layer_dir_, name, kDirectoryFlags);
    if (!root && root.error().code() == ENOENT) return {};
    if (!root) return Fail(root.error().code(), "guard layer", name);
    ConfinedTree tree(ops_, root->get());
    std::vector<std::string> todo(1);
    while (!todo.empty()) {
      const std::string path = std::move(todo.back());
      todo.pop_back();
      STRATA_TRY_ASSIGN(const int dir, tree.Open(path));
      STRATA_TRY(GuardDirectory(dir, path, todo));
    }
    return {};
  }

  // Directories in it go to `todo`.
  Result<> GuardDirectory(int dir, const std::string& path, std::vector<std::string>& todo) {
    const auto own = ops_.Open(dir, ".", kDirectoryFlags);
    if (!own && own.error().code() == EACCES) {
      left_out_ = true;
      return {};
    }
    if (!own) return Fail(own.error().code(), "guard layer", path);
    std::vector<std::string> files;
    STRATA_TRY(ops_.ReadDir(own->get(), [&](std::string_view name, ino_t, unsigned char type) {
      if (type == DT_DIR) todo.push_back(JoinPath(path, name));
      if (type == DT_REG || type == DT_UNKNOWN) files.emplace_back(name);
      return true;
    }));
    for (const std::string& name : files) {
      STRATA_TRY_ASSIGN(const struct stat st, ops_.StatAt(own->get(), name.c_str()));
      if (S_ISDIR(st.st_mode)) todo.push_back(JoinPath(path, name));
      if (!S_ISREG(st.st_mode) || st.st_size < from_bytes_) continue;
      auto guarded = GuardFile(own->get(), name.c_str());
      if (!guarded) {
        return std::unexpected(std::move(guarded).error().WithContext(JoinPath(path, name)));
      }
    }
    return {};
  }

  Result<> GuardFile(int dir, const char* name) {
    STRATA_TRY_ASSIGN(const bool has, HasVerity(dir, name));
    if (has) return {};
    const auto file = ops_.Open(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (!file && file.error().code() == EACCES) {
      left_out_ = true;
      return {};
    }
    if (!file) return Fail(file.error().code(), "guard file");
    STRATA_TRY_ASSIGN(const bool older, IsOlder(file->get()));
    left_out_ = left_out_ || older;
    if (older) return {};
    STRATA_TRY_ASSIGN(const struct stat before, ops_.Stat(file->get()));
    auto guarded = EnableWhenFree(file->get());
    if (guarded) {
      const struct timespec times[2] = {before.st_atim, before.st_mtim};
      return ops_.Utimes(file->get(), times);  // ext4 takes it for a change
    }
    // A plain user's file that its owner may not write; a file that is of a kind which can not.
    const int code = guarded.error().code();
    if (code == EEXIST) return {};
    if (code != EACCES && code != EFBIG && !IsUnsupported(code)) return guarded;
    left_out_ = true;
    return {};
  }

  // A file of layers that came before this one is left as it is: a crash must find it with its
  // times.
  Result<bool> IsOlder(int file) const {
    STRATA_TRY_ASSIGN(const auto born, BirthOf(file));
    return born < since_;
  }

  // Of what has none: long ago.
  static Result<Moment> BirthOf(int fd) {
    const auto born = BirthTime(fd);
    if (born) return Moment(born->tv_sec, born->tv_nsec);
    if (born.error().code() == ENODATA) return Moment();
    return Fail(born.error().code(), "guard file");
  }

  // A program that is being started has our descriptors for a moment; another one that unpacks the
  // same file may be just about to finish it.
  static Result<> EnableWhenFree(int file) {
    constexpr int kAttempts = 500;
    constexpr auto kPause = std::chrono::milliseconds(10);
    for (int attempt = 1;; ++attempt) {
      auto enabled = EnableVerity(file);
      if (enabled) return enabled;
      const int code = enabled.error().code();
      if ((code != ETXTBSY && code != EBUSY) || attempt == kAttempts) return enabled;
      std::this_thread::sleep_for(kPause);
    }
  }

  FileOps& ops_;
  const int layer_dir_;
  const std::int64_t from_bytes_;
  Moment since_;
  bool left_out_ = false;
};

}  // namespace

Result<> VerityGuard::Guard(FileOps& ops, int layer_dir) {
  if (setting_ == Verity::kOff) return {};
  STRATA_TRY_ASSIGN(const bool works, Works(ops, layer_dir));
  if (!works) return {};
  return LayerGuarding(ops, layer_dir, setting_ == Verity::kAll ? 1 : kGuardedBytes).Run();
}

Result<bool> VerityGuard::Works(FileOps& ops, int layer_dir) {
  constexpr const char* kProbe = "probe";
  constexpr mode_t kPrivate = 0600;
  if (support_ != Support::kUnknown) return support_ == Support::kThere;
  STRATA_TRY(ops.Open(layer_dir, kProbe, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, kPrivate));
  STRATA_TRY_ASSIGN(const UniqueFd probe, ops.Open(layer_dir, kProbe, O_RDONLY | O_NOFOLLOW));
  STRATA_TRY(ops.Unlink(layer_dir, kProbe));
  auto enabled = EnableVerity(probe.get());
  if (!enabled && !IsUnsupported(enabled.error().code())) {
    return std::unexpected(std::move(enabled).error());
  }
  support_ = enabled ? Support::kThere : Support::kNone;
  return enabled.has_value();
}

Result<bool> IsGuarded(int layer_dir) {
  auto guarded = HasVerity(layer_dir, kRecipe);
  if (!guarded && guarded.error().code() == ENOENT) return false;
  return guarded;
}

}  // namespace strata::layerstore
