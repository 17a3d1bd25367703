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
#include "fusefs/union/node_table.h"

namespace strata::fusefs {

// An inode of some layer.
struct RealInode {
  std::uint16_t filesystem = 0;
  std::uint64_t ino = 0;
  bool operator==(const RealInode&) const = default;
};

// The name kernel overlayfs gives an index entry, and the value of its origin xattr: the file
// handle of a lower inode with its filesystem's UUID (linux: struct ovl_fh in
// fs/overlayfs/overlayfs.h). Nothing if the filesystem has no file handles. `dir` is open for
// reading.
std::optional<std::string> OriginHandle(int dir, const char* name);
// The inode number in such a handle, for the filesystems whose handles hold it plainly (ext4, XFS).
std::optional<std::uint64_t> InoOfOrigin(std::string_view handle);

// Thread-safe.
class LinkGroups {
 public:
  // `index_dir` is <workdir>/index, or -1 for a read-only union. Reads the names it holds.
  static Result<std::unique_ptr<LinkGroups>> Open(FileOps& files, int index_dir);

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
