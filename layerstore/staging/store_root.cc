#include "layerstore/staging/store_root.h"

#include <sys/random.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <utility>
#include <vector>

#include "base/hex.h"
#include "base/logging.h"
#include "base/path.h"
#include "base/remove_tree.h"
#include "base/try.h"
#include "layerstore/objects/object_list.h"

namespace strata::layerstore {
namespace {

constexpr mode_t kPrivate = 0700;
constexpr mode_t kLockMode = 0600;
constexpr mode_t kParentMode = 0755;
constexpr int kDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;

// Makes the directory if it is not there and makes its name durable.
Result<UniqueFd> OpenOrMakeDir(FileOps& ops, int parent, const char* name, bool read_only) {
  if (!read_only) {
    auto made = ops.MakeDir(parent, name, kPrivate);
    if (!made && made.error().code() != EEXIST) {
      return std::unexpected(std::move(made).error().WithContext(name));
    }
    if (made) STRATA_TRY(ops.Sync(parent));
  }
  auto fd = ops.Open(parent, name, kDirectory);
  if (!fd) return std::unexpected(std::move(fd).error().WithContext(name));
  return fd;
}

// Makes the directories on the way to `path` and itself where they are missing, each durable.
Result<> MakeDirs(FileOps& ops, const std::string& path) {
  auto made = ops.MakeDir(AT_FDCWD, path.c_str(), kParentMode);
  const std::string parent(DirName(path));
  if (!made && made.error().code() == ENOENT && parent != path) {
    STRATA_TRY(MakeDirs(ops, parent));
    made = ops.MakeDir(AT_FDCWD, path.c_str(), kParentMode);
  }
  if (!made) {
    if (made.error().code() == EEXIST) return {};
    return std::unexpected(std::move(made).error().WithContext(path));
  }
  STRATA_TRY_ASSIGN(const UniqueFd above,
                    ops.Open(AT_FDCWD, parent.c_str(), O_RDONLY | O_DIRECTORY));
  return ops.Sync(above.get());
}

std::string WithoutTrailingSlash(const std::filesystem::path& path) {
  std::string text = path.lexically_normal().string();
  while (text.size() > 1 && text.ends_with('/')) text.pop_back();
  return text;
}

Result<bool> SameObject(FileOps& ops, int fd, int dir, const std::string& name) {
  STRATA_TRY_ASSIGN(const struct stat held, ops.Stat(fd));
  auto named = ops.StatAt(dir, name.c_str());
  if (!named) {
    if (named.error().code() == ENOENT) return false;
    return std::unexpected(std::move(named).error());
  }
  return held.st_dev == named->st_dev && held.st_ino == named->st_ino;
}

}  // namespace

// In this order: what is open in it is closed before it goes.
struct StoreRoot::PrivateRoot {
  PrivateDirectory directory;
  std::unique_ptr<StoreRoot> root;
};

StagedName::StagedName(StagedName&& other) noexcept
    : root_(std::exchange(other.root_, nullptr)), name_(std::move(other.name_)) {}

StagedName& StagedName::operator=(StagedName&& other) noexcept {
  std::swap(root_, other.root_);
  std::swap(name_, other.name_);
  return *this;
}

StagedName::~StagedName() {
  if (root_ == nullptr) return;
  if (const auto dir = root_->staging()) {
    Ignore(root_->Discard(*dir, name_), "the next start removes what is left in staging");
  }
}

StoreRoot::StoreRoot(std::string path, FileOps& ops) : path_(std::move(path)), ops_(ops) {}

Result<std::unique_ptr<StoreRoot>> StoreRoot::Open(const std::string& path, const Options& options,
                                                   FileOps& ops) {
  const bool read_only = options.read_only;
  std::error_code code;
  const std::filesystem::path absolute = std::filesystem::absolute(path, code);
  if (code) return Fail(code.value(), "store root", path);
  std::unique_ptr<StoreRoot> root(new StoreRoot(WithoutTrailingSlash(absolute), ops));
  if (!read_only) STRATA_TRY(MakeDirs(ops, std::string(DirName(root->path_))));
  if (auto opened = root->OpenDirectories(read_only); !opened) {
    return std::unexpected(std::move(opened).error().WithContext("store " + root->path_));
  }
  if (!read_only) {
    if (options.delete_in_background) root->emptier_.emplace();
    auto cleaned = root->TakeStaging();
    if (cleaned) cleaned = root->CleanUp();
    if (!cleaned) {
      return std::unexpected(std::move(cleaned).error().WithContext("store " + root->path_));
    }
  }
  return root;
}

Result<> StoreRoot::OpenDirectories(bool read_only) {
  const std::string parent(DirName(path_));
  STRATA_TRY_ASSIGN(UniqueFd above, ops_.Open(AT_FDCWD, parent.c_str(),
                                              (read_only ? O_PATH : O_RDONLY) | O_DIRECTORY));
  const std::string name(BaseName(path_));
  STRATA_TRY_ASSIGN(root_, OpenOrMakeDir(ops_, above.get(), name.c_str(), read_only));
  STRATA_TRY_ASSIGN(const struct stat st, ops_.Stat(root_.get()));
  if (!read_only && st.st_uid == ::geteuid() && (st.st_mode & 0077U) != 0) {
    // Layers hold set-user-id programs of images; nobody else may reach them (CVE-2021-41091).
    STRATA_TRY(ops_.Chmod(root_.get(), kPrivate));
  }
  const auto open = [&](int dir, const char* entry, UniqueFd& fd) -> Result<> {
    STRATA_TRY_ASSIGN(fd, OpenOrMakeDir(ops_, dir, entry, read_only));
    return {};
  };
  STRATA_TRY(open(root_.get(), "blobs", above));
  STRATA_TRY(open(above.get(), "sha256", blobs_));
  STRATA_TRY(open(root_.get(), "layers", above));
  STRATA_TRY(open(above.get(), "sha256", layers_));
  // Stores of earlier programs have none; nobody has to.
  auto chains = open(root_.get(), "chains", above);
  if (chains) {
    chains = open(above.get(), "sha256", chains_);
  }
  if (!chains && !(read_only && chains.error().code() == ENOENT)) return chains;
  UniqueFd objects;
  auto has_objects = open(root_.get(), "objects", objects);
  if (!has_objects && !(read_only && has_objects.error().code() == ENOENT)) return has_objects;
  if (has_objects) objects_.emplace(ops_, std::move(objects));
  if (read_only) return {};  // what is being made or deleted is not for it
  STRATA_TRY(open(root_.get(), "tmp", tmp_));
  STRATA_TRY(open(root_.get(), "trash", trash_));
  return {};
}

std::string StoreRoot::UniqueName(const char* prefix) {
  return prefix + std::to_string(next_.fetch_add(1, std::memory_order_relaxed));
}

Result<> StoreRoot::TakeStaging() {
  constexpr int kAttempts = 100;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    std::array<std::uint8_t, 8> random = {};
    if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
      return FailErrno("getrandom");
    }
    const std::string name = std::to_string(::getpid()) + '-' + HexEncode(random);
    STRATA_TRY(ops_.MakeDir(tmp_.get(), name.c_str(), kPrivate));
    // A start-up cleanup of another process may take it away before it is locked.
    auto fd = ops_.Open(tmp_.get(), name.c_str(), kDirectory);
    if (!fd) {
      if (fd.error().code() == ENOENT) continue;
      return std::unexpected(std::move(fd).error());
    }
    auto lock = FileLock::TryAcquire(std::move(*fd));
    if (!lock) {
      if (lock.error().code() == EWOULDBLOCK) continue;
      return std::unexpected(std::move(lock).error());
    }
    STRATA_TRY_ASSIGN(const bool still_there, SameObject(ops_, lock->fd(), tmp_.get(), name));
    if (!still_there) continue;
    owner_ = name;
    staging_.emplace(std::move(*lock));
    return {};
  }
  return Fail(EAGAIN, "store staging", "could not lock a staging directory");
}

StoreRoot::~StoreRoot() {
  if (!staging_) return;
  // The lock is held until the directory is gone from tmp/. Not in the background, which ends now.
  constexpr const char* kWhyIgnored = "the next start removes a dead process's staging";
  auto trashed = MoveToTrash(tmp_.get(), owner_);
  if (!trashed) {
    Ignore(std::unexpected(std::move(trashed).error()), kWhyIgnored);
  } else if (!trashed->empty()) {
    Ignore(RemoveTrash(*trashed), kWhyIgnored);
  }
}

Result<StoreRoot*> StoreRoot::Scratch() {
  if (!read_only()) return this;
  MutexLock lock(scratch_mu_);
  if (!scratch_) {
    STRATA_TRY_ASSIGN(PrivateDirectory directory, PrivateDirectory::Make("strata-scratch-"));
    STRATA_TRY_ASSIGN(auto root, Open(directory.path(), {}, FileOps::System()));
    scratch_ = std::make_unique<PrivateRoot>(std::move(directory), std::move(root));
  }
  return scratch_->root.get();
}

Result<int> StoreRoot::staging() const {
  if (!staging_) return Fail(EROFS, "store", "it is opened read-only");
  return staging_->fd();
}

Result<bool> StoreRoot::OwnerAlive(const std::string& owner) {
  if (owner == owner_) return true;
  auto fd = ops_.Open(tmp_.get(), owner.c_str(), kDirectory);
  if (!fd) {
    if (fd.error().code() == ENOENT) return false;
    return std::unexpected(std::move(fd).error());
  }
  auto lock = FileLock::TryAcquire(std::move(*fd));
  if (lock) return false;
  if (lock.error().code() == EWOULDBLOCK) return true;
  return std::unexpected(std::move(lock).error());
}

Result<std::vector<std::string>> StoreRoot::NamesOf(int dir) const {
  // A descriptor of our own, so that nobody else moves its position.
  STRATA_TRY_ASSIGN(const UniqueFd fd, ops_.Open(dir, ".", kDirectory));
  return NamesIn(ops_, fd.get());
}

StagedName StoreRoot::NewStaged(const char* prefix) {
  return StagedName(*this, UniqueName(prefix));
}

Result<> StoreRoot::PublishFile(int file, StagedName& staged, int target_dir,
                                const std::string& name) {
  STRATA_TRY_ASSIGN(const int dir, staging());
  STRATA_TRY(ops_.Sync(file));
  STRATA_TRY(ops_.Rename(dir, staged.c_str(), target_dir, name.c_str()));
  staged.Release();
  return ops_.Sync(target_dir);
}

Result<> StoreRoot::PublishTree(StagedName& staged, int target_dir, const std::string& name) {
  STRATA_TRY_ASSIGN(const int dir, staging());
  STRATA_TRY(ops_.SyncFilesystem(dir));
  STRATA_TRY(ops_.Rename(dir, staged.c_str(), target_dir, name.c_str(), RENAME_NOREPLACE));
  staged.Release();
  return ops_.Sync(target_dir);
}

Result<std::string> StoreRoot::MoveToTrash(int dir, const std::string& name) {
  // The owner's name makes it unique among processes.
  std::string trashed = owner_ + '.' + UniqueName("t");
  auto moved = ops_.Rename(dir, name.c_str(), trash_.get(), trashed.c_str());
  if (!moved) {
    if (moved.error().code() == ENOENT) return std::string();
    return std::unexpected(std::move(moved).error());
  }
  return trashed;
}

Result<> StoreRoot::EmptyTrash(const std::string& name) {
  if (emptier_) {
    emptier_->Add([this, name] { return RemoveTrash(name); });
    return {};
  }
  return RemoveTrash(name);
}

// The list of objects goes last: whoever goes on with this after a crash needs it.
Result<> StoreRoot::RemoveTrash(const std::string& name) {
  const auto list = ops_.StatAt(trash_.get(), (name + '/' + ObjectListWriter::kFileName).c_str());
  if (list && !S_ISREG(list->st_mode)) SweepLater();
  if (list && S_ISREG(list->st_mode)) {
    for (const char* part : {"fs", "replaced"}) {
      auto removed = RemoveTree(ops_, trash_.get(), (name + '/' + part).c_str());
      if (!removed) return removed;
    }
    if (auto dropped = DropObjectsOf(name); !dropped) {
      // Another process may be deleting it, too.
      if (dropped.error().code() == ENOENT) return {};
      if (dropped.error().code() != EBADMSG) return dropped;
      SweepLater();
    }
  }
  STRATA_TRY(RemoveTree(ops_, trash_.get(), name.c_str()));
  return sweep_.exchange(false) ? SweepObjects() : Result<>();
}

Result<> StoreRoot::DropObjectsOf(const std::string& trashed) {
  STRATA_TRY_ASSIGN(const UniqueFd dir, ops_.Open(trash_.get(), trashed.c_str(), kDirectory));
  return ForEachObject(ops_, dir.get(), [&](const ObjectKey& key) -> Result<> {
    STRATA_TRY_ASSIGN(const std::uint64_t freed, objects_->Drop(key));
    MutexLock lock(mu_);
    object_room_.freed += freed;
    return {};
  });
}

Result<> StoreRoot::SweepObjects() {
  STRATA_TRY_ASSIGN(const std::uint64_t room, objects_->Sweep());
  MutexLock lock(mu_);
  object_room_ = {0, room};
  return {};
}

StoreRoot::ObjectRoom StoreRoot::TakeObjectRoom() {
  MutexLock lock(mu_);
  return std::exchange(object_room_, {});
}

void StoreRoot::WaitForTrash() {
  if (emptier_) emptier_->Wait();
}

Result<> StoreRoot::Discard(int dir, const std::string& name) {
  STRATA_TRY_ASSIGN(const std::string trashed, MoveToTrash(dir, name));
  if (trashed.empty()) return {};
  return EmptyTrash(trashed);
}

Result<std::string> StoreRoot::Quarantine(int dir, const std::string& name) {
  STRATA_TRY(staging());
  STRATA_TRY_ASSIGN(const UniqueFd quarantine,
                    OpenOrMakeDir(ops_, root_.get(), "quarantine", false));
  const std::string as = name + '.' + owner_ + '.' + UniqueName("q");
  STRATA_TRY(ops_.Rename(dir, name.c_str(), quarantine.get(), as.c_str(), RENAME_NOREPLACE));
  STRATA_TRY(ops_.Sync(quarantine.get()));
  STRATA_TRY(ops_.Sync(dir));
  return "quarantine/" + as;
}

LayerLock::LayerLock(LayerLock&& other) noexcept
    : root_(std::exchange(other.root_, nullptr)),
      name_(std::move(other.name_)),
      lock_(std::move(other.lock_)) {}

LayerLock::~LayerLock() {
  if (root_ == nullptr) return;
  // While it is still locked: whoever waits for it notices that the name is gone and starts anew.
  Ignore(root_->ops().Unlink(root_->tmp_.get(), name_.c_str()), "the next start removes it");
}

Result<LayerLock> StoreRoot::LockLayer(const Digest& diff_id) {
  const std::string name = "lock-" + diff_id.Hex();
  for (;;) {
    STRATA_TRY_ASSIGN(
        UniqueFd fd, ops_.Open(tmp_.get(), name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW, kLockMode));
    STRATA_TRY_ASSIGN(FileLock lock, FileLock::Acquire(std::move(fd)));
    // A cleanup may have unlinked the file while we waited; then the lock excludes nobody.
    STRATA_TRY_ASSIGN(const bool current, SameObject(ops_, lock.fd(), tmp_.get(), name));
    if (current) return LayerLock(*this, name, std::move(lock));
  }
}

Result<bool> StoreRoot::CleanUpEntry(const std::string& name) {
  auto fd = ops_.Open(tmp_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!fd) {
    // Gone meanwhile; or a kind of file we never make, which nobody can hold locked.
    if (fd.error().code() == ENOENT) return false;
    STRATA_TRY(Discard(tmp_.get(), name));
    return true;
  }
  auto lock = FileLock::TryAcquire(std::move(*fd));
  if (!lock) {
    if (lock.error().code() == EWOULDBLOCK) return false;
    return std::unexpected(std::move(lock).error());
  }
  // The lock may be on something that has been renamed away since.
  STRATA_TRY_ASSIGN(const bool current, SameObject(ops_, lock->fd(), tmp_.get(), name));
  if (!current) return false;
  STRATA_TRY(Discard(tmp_.get(), name));
  return true;
}

Result<bool> StoreRoot::CleanUpStaging() {
  bool found = false;
  STRATA_TRY_ASSIGN(const auto staged, NamesOf(tmp_.get()));
  for (const std::string& name : staged) {
    if (name == owner_) continue;
    auto cleaned = CleanUpEntry(name);
    if (!cleaned) {
      log::Warn("store: left-over staging could not be removed",
                {{"name", name}, {"error", cleaned.error().ToString()}});
    }
    found = found || cleaned.value_or(true);
  }
  return found;
}

Result<> StoreRoot::CleanUp() {
  STRATA_TRY_ASSIGN(const bool crashed, CleanUpStaging());
  STRATA_TRY_ASSIGN(const auto trashed, NamesOf(trash_.get()));
  for (const std::string& name : trashed) {
    if (auto removed = EmptyTrash(name); !removed) {
      log::Warn("store: trash could not be removed",
                {{"name", name}, {"error", removed.error().ToString()}});
    }
  }
  // No list names the objects of files that were being unpacked.
  if (crashed && emptier_) emptier_->Add([this] { return SweepObjects(); });
  return crashed && !emptier_ ? SweepObjects() : Result<>();
}

}  // namespace strata::layerstore
