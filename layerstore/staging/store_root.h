// The store's directory tree: where things lie, the staging directory of this process, publishing,
// and moving things out of the way. Layout: docs/formats/store.md.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "base/file_lock.h"
#include "base/file_ops.h"
#include "base/mutex.h"
#include "base/private_directory.h"
#include "base/unique_fd.h"
#include "layerstore/objects/object_directory.h"
#include "layerstore/staging/trash_emptier.h"

namespace strata::layerstore {

// Keeps a name in this process's staging directory from outliving the work on it: destroyed before
// Release(), it removes what stands there. Move-only.
class StagedName {
 public:
  StagedName() = default;
  StagedName(class StoreRoot& root, std::string name) : root_(&root), name_(std::move(name)) {}
  StagedName(StagedName&& other) noexcept;
  StagedName& operator=(StagedName&& other) noexcept;
  ~StagedName();

  const std::string& name() const { return name_; }
  const char* c_str() const { return name_.c_str(); }
  // It was renamed away, or never came to be.
  void Release() { root_ = nullptr; }

 private:
  class StoreRoot* root_ = nullptr;
  std::string name_;
};

// Holds the right to unpack one layer; ends with its destruction. Move-only.
class LayerLock {
 public:
  LayerLock(class StoreRoot& root, std::string name, FileLock lock)
      : root_(&root), name_(std::move(name)), lock_(std::move(lock)) {}
  LayerLock(LayerLock&& other) noexcept;
  LayerLock& operator=(LayerLock&& other) = delete;
  ~LayerLock();

 private:
  class StoreRoot* root_;
  std::string name_;  // in tmp/
  FileLock lock_;
};

// Opened directories of one store. Thread-safe. Paths below are relative to the root:
//   tmp/<owner>/     staging of one process, flock(2)ed while it lives
//   tmp/lock-<hex>   one flight per layer
//   trash/           renamed here, deleted later
//   objects/         files that layers have in common
//   quarantine/      what a repair put aside; made when it is needed
class StoreRoot {
 public:
  struct Options {
    bool read_only = false;
    bool delete_in_background = false;
  };
  // Makes what is missing unless read-only; then also takes a staging directory and removes what
  // dead processes left. `ops` must outlive it.
  static Result<std::unique_ptr<StoreRoot>> Open(const std::string& path, const Options& options,
                                                 FileOps& ops);
  StoreRoot(const StoreRoot&) = delete;
  StoreRoot& operator=(const StoreRoot&) = delete;
  ~StoreRoot();

  FileOps& ops() const { return ops_; }
  const std::string& path() const { return path_; }  // absolute
  bool read_only() const { return !staging_.has_value(); }
  int blobs() const { return blobs_.get(); }    // blobs/sha256
  int layers() const { return layers_.get(); }  // layers/sha256
  // chains/sha256; -1 for a read-only store that has none.
  int chains() const { return chains_.get(); }
  // Null for a read-only store that has none.
  ObjectDirectory* objects() { return objects_ ? &*objects_ : nullptr; }
  // What became of their room (RoomOf) since the last call. `counted` is how much there was when
  // all were looked at, as after a crash, and `freed` what was freed since then.
  struct ObjectRoom {
    std::uint64_t freed = 0;
    std::optional<std::uint64_t> counted;
  };
  ObjectRoom TakeObjectRoom();
  // Removes all that no layer has, and counts the rest.
  Result<> SweepObjects();
  // The same when the next thing is deleted: some layer's objects are not known.
  void SweepLater() { sweep_ = true; }

  // Where this process may write what is nobody's but its own: the store, or for a read-only one a
  // private tree of the same shape in the directory for temporary files. That is made by the first
  // call and goes with this object; a killed process leaves it there.
  Result<StoreRoot*> Scratch();

  // The staging directory; EROFS for a read-only store.
  Result<int> staging() const;
  // Its name in tmp/: who holds a lease. Empty if read-only.
  const std::string& owner() const { return owner_; }
  // Whether the process with that staging directory lives.
  Result<bool> OwnerAlive(const std::string& owner);

  // All names in one of these directories, whose descriptors several threads use.
  Result<std::vector<std::string>> NamesOf(int dir) const;

  // A fresh name in the staging directory; nothing is made.
  StagedName NewStaged(const char* prefix);

  // Publishes a staged, fully written file: fsync(file), rename, fsync(directory). Crash points:
  // before the rename the staging is cleaned at the next start; after it the file is whole, though
  // a power loss before the last step may still lose the name. On success `staged` is released.
  Result<> PublishFile(int file, StagedName& staged, int target_dir, const std::string& name);
  // The same for a tree: one syncfs(2) instead of an fsync(2) for every file. EEXIST if the name is
  // taken.
  Result<> PublishTree(StagedName& staged, int target_dir, const std::string& name);

  // Takes `name` out of `dir` at once and deletes it afterwards, or in the background; not there:
  // success.
  Result<> Discard(int dir, const std::string& name);
  // Only the first half: renames into trash/ and returns the name there; empty if it was not there.
  Result<std::string> MoveToTrash(int dir, const std::string& name);
  Result<> EmptyTrash(const std::string& name);
  // Until nothing is left to delete in the background.
  void WaitForTrash();

  // Moves `name` from `dir` into quarantine/ under a name of its own, durably, and returns that
  // from the root ("quarantine/…"); ENOENT if it was not there. What is there nobody deletes.
  Result<std::string> Quarantine(int dir, const std::string& name);

  // Waits for the lock of a layer. It is for threads as much as for processes.
  Result<LayerLock> LockLayer(const Digest& diff_id);

 private:
  StoreRoot(std::string path, FileOps& ops);
  friend class LayerLock;
  Result<> OpenDirectories(bool read_only);
  Result<> TakeStaging();
  Result<> CleanUp();
  // Whether something was left over.
  Result<bool> CleanUpStaging();
  Result<bool> CleanUpEntry(const std::string& name);
  // Deletes it, and the objects that then no layer has.
  Result<> RemoveTrash(const std::string& name);
  Result<> DropObjectsOf(const std::string& trashed);
  std::string UniqueName(const char* prefix);

  const std::string path_;
  FileOps& ops_;
  UniqueFd root_;
  UniqueFd blobs_;
  UniqueFd layers_;
  UniqueFd chains_;
  UniqueFd tmp_;
  UniqueFd trash_;
  std::string owner_;
  std::optional<FileLock> staging_;
  std::atomic<std::uint64_t> next_ = 0;
  std::optional<ObjectDirectory> objects_;
  Mutex mu_;  // rank: leaf
  ObjectRoom object_room_ STRATA_GUARDED_BY(mu_);
  std::atomic<bool> sweep_ = false;
  std::optional<TrashEmptier> emptier_;  // if in the background

  struct PrivateRoot;
  Mutex scratch_mu_;                                                     // held while it is made
  std::unique_ptr<PrivateRoot> scratch_ STRATA_GUARDED_BY(scratch_mu_);  // if read-only
};

}  // namespace strata::layerstore
