// A machine that loses power, without one: after DropUnsynced() the files are as a file system may
// leave them that keeps nothing but what it was told to sync.
//
// The model is POSIX's, which is stricter than any journal:
//   - what was appended to a file is there once the file was fsynced; before, it is cut off;
//   - a name that was made, removed or renamed stays so once its directory was fsynced (after a
//     rename, the directory it leads to); before, it is as it was;
//   - syncfs does all of both.
// Not modelled: bytes overwritten in place, sizes that shrank, modes, owners, times and xattrs.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/unique_fd.h"
#include "tests/support/forwarding_file_ops.h"

namespace strata::support {

// Thread-safe; one call that changes something at a time. Sees only what goes through it.
class UnsyncedFileOps final : public ForwardingFileOps {
 public:
  // Removed things are kept in a new directory `attic`, on the file system that is tested but
  // outside of what is. `target` must outlive it.
  static Result<std::unique_ptr<UnsyncedFileOps>> Create(FileOps& target, const std::string& attic);

  // The power cut and the recovery: goes back to what is durable. Nothing else may use the files.
  Result<> DropUnsynced();

  Result<UniqueFd> Open(int dir, const char* path, int flags, mode_t mode) override;
  Result<UniqueFd> OpenConfined(int dir, const char* path, int flags, mode_t mode,
                                std::uint64_t resolve) override;
  Result<std::size_t> WriteAt(int fd, std::span<const std::byte> data, off_t offset) override;
  Result<std::size_t> Write(int fd, std::span<const std::byte> data) override;
  Result<std::size_t> CopyRange(int in, off_t in_offset, int out, off_t out_offset,
                                std::size_t length) override;
  Result<> Clone(int from, int to) override;
  Result<> Truncate(int fd, off_t size) override;
  Result<> TruncatePath(const char* path, off_t size) override;  // ENOTSUP
  Result<> Allocate(int fd, int mode, off_t offset, off_t length) override;
  Result<> Sync(int fd) override;
  Result<> SyncData(int fd) override;
  Result<> SyncFilesystem(int fd) override;
  Result<> MakeDir(int dir, const char* path, mode_t mode) override;
  Result<> MakeNode(int dir, const char* path, mode_t mode, dev_t dev) override;
  Result<> SymLink(const char* target, int dir, const char* path) override;
  Result<> Link(int from_dir, const char* from, int to_dir, const char* to, int flags) override;
  Result<> Unlink(int dir, const char* path, int flags) override;
  Result<> Rename(int from_dir, const char* from, int to_dir, const char* to,
                  unsigned flags) override;

 private:
  struct Inode {
    dev_t dev = 0;
    ino_t ino = 0;
    auto operator<=>(const Inode&) const = default;
  };
  // A directory, held open so that its number stays its own.
  struct Directory {
    UniqueFd fd;
    Inode inode;
  };
  using DirectoryRef = std::shared_ptr<const Directory>;
  struct Place {
    DirectoryRef dir;
    std::string name;
  };
  struct UnsyncedFile {
    UniqueFd fd;
    off_t durable_size = 0;
  };
  // One change of names that is not durable yet.
  struct Change {
    enum class Kind : std::uint8_t { kMade, kRemoved, kRenamed, kExchanged } kind;
    Place place;        // where; of a rename, where to
    Place from;         // of a rename
    Inode made;         // what was made, or renamed
    std::string saved;  // name in the attic of what was there before; "" if nothing was
  };

  UnsyncedFileOps(FileOps& target, UniqueFd attic)
      : ForwardingFileOps(target), attic_(std::move(attic)) {}

  Result<Place> Find(int dir, const char* path) STRATA_REQUIRES(mu_);
  Result<Inode> InodeAt(const Place& place);
  // Before a call that may make a file longer.
  Result<> WillWrite(int fd) STRATA_REQUIRES(mu_);
  // Runs `make`, and records the name it makes if that was not there.
  template <class Make>
  auto Making(int dir, const char* path, Make make) -> decltype(make());
  template <class SyncCall>
  Result<> Syncing(int fd, SyncCall sync);
  // Moves what is at `place` into the attic and returns its name there.
  Result<std::string> Save(const Place& place) STRATA_REQUIRES(mu_);
  Result<> CheckRemovable(const Place& place, int flags);
  Result<> Undo(const Change& change) STRATA_REQUIRES(mu_);
  Result<> UndoRename(const Change& change) STRATA_REQUIRES(mu_);
  Result<> PutBack(const Change& change) STRATA_REQUIRES(mu_);

  const UniqueFd attic_;
  Mutex mu_;  // no other lock is taken under it
  std::map<Inode, UnsyncedFile> files_ STRATA_GUARDED_BY(mu_);
  std::vector<Change> changes_ STRATA_GUARDED_BY(mu_);
  std::map<Inode, DirectoryRef> directories_ STRATA_GUARDED_BY(mu_);
  std::uint64_t saved_ STRATA_GUARDED_BY(mu_) = 0;
};

}  // namespace strata::support
