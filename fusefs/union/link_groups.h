// Files with several names: one node for all of them, before and after copy-up and across mounts.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "base/file_ops.h"
#include "base/mutex.h"
#include "fusefs/union/file_handle.h"
#include "fusefs/union/filesystem_identity.h"
#include "fusefs/union/node_table.h"

namespace strata::fusefs {

// An inode of some layer: of the upper one by its own number, of the others by the one shown.
struct RealInode {
  std::uint16_t filesystem = 0;
  std::uint64_t ino = 0;
  bool operator==(const RealInode&) const = default;
};

// The name kernel overlayfs gives an index entry, and the value of its origin xattr: the file
// handle of a lower inode with its filesystem's UUID (linux: struct ovl_fh in
// fs/overlayfs/overlayfs.h). Where there are no lasting handles (FUSE, ramfs), what else tells a
// file that never changes, in a form that no kernel takes for a handle. `dir` is open for reading,
// `st` says what dir/name is.
std::string OriginHandle(const FilesystemIdentity& filesystem, int dir, const char* name,
                         const struct stat& st);
// The same of a file which is known not by its inode but by a number of ours (Layers::LogicalIno).
std::string LogicalOriginHandle(const FilesystemIdentity& filesystem, std::uint64_t number);

// What such a handle tells.
struct Origin {
  FilesystemUuid uuid;
  std::optional<std::uint64_t> ino;   // where it holds that plainly
  std::optional<FileHandle> lasting;  // where it is one
};
// Nothing for other text.
std::optional<Origin> ParseOrigin(std::string_view handle);

// Thread-safe.
class LinkGroups {
 public:
  // `indexed`: the names in <workdir>/index.
  explicit LinkGroups(const std::vector<std::string>& indexed)
      : indexed_(indexed.begin(), indexed.end()) {}

  // The node that stands for an inode with several names, if one is known.
  WeakNode Find(RealInode inode) const;
  void Put(RealInode inode, WeakNode node);
  // Forgets `inode` if it still leads to `node`.
  void Erase(RealInode inode, WeakNode node);

  // Index entries, by the hexadecimal form of the origin handle.
  bool HasIndex() const;
  bool Indexed(const std::string& name) const;
  void AddIndexed(const std::string& name);
  void RemoveIndexed(const std::string& name);

 private:
  struct Hash {
    std::size_t operator()(const RealInode& inode) const {
      return std::hash<std::uint64_t>{}(inode.ino * 31 + inode.filesystem);
    }
  };

  mutable Mutex mu_;  // rank 65
  std::unordered_map<RealInode, WeakNode, Hash> nodes_ STRATA_GUARDED_BY(mu_);
  std::unordered_set<std::string> indexed_ STRATA_GUARDED_BY(mu_);
};

}  // namespace strata::fusefs
