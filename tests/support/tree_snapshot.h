// A picture of a tree: everything a program could see of it, to compare two trees or one tree at
// two times.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "tests/support/xattrs.h"

namespace strata::support {

struct NodeRecord {
  struct stat stat = {};
  std::string link_target;                           // symbolic links
  Xattrs xattrs;                                     // ACLs and capabilities are among them
  Digest content;                                    // regular files
  std::vector<std::pair<off_t, off_t>> data_ranges;  // [from, to) that are not holes
};

struct SnapshotOptions {
  bool contents = true;
  bool xattrs = true;
  bool holes = false;
  // Kernel overlayfs lists whiteouts that hide nothing (in directories of one layer only), but does
  // not find them.
  bool skip_unfindable = false;
  // st_nlink of files counts their names in the tree, whatever others they have.
  bool links_within = false;
};

// Paths (bytes, relative, "" for the root itself) to what is there, sorted. Symbolic links are
// never followed.
class TreeSnapshot {
 public:
  static Result<TreeSnapshot> Take(const std::string& root, const SnapshotOptions& options = {});

  const std::map<std::string, NodeRecord>& nodes() const { return nodes_; }
  // Names of regular files with several links, by inode: the same number for the same file.
  // Each path maps to the first path (in order) of its group.
  std::map<std::string, std::string> HardLinkGroups() const;
  // One line per node with all that is recorded; for failure messages and digests.
  std::string ToString() const;

 private:
  void CountLinksWithin();

  std::map<std::string, NodeRecord> nodes_;
};

// What may differ between two snapshots that count as equal. The defaults allow only what no
// program relies on: sizes, link counts and block counts of directories, atimes, ctimes and the
// mtimes of fifos.
struct CompareRules {
  bool inode_numbers = false;   // st_ino must agree (same union, seen twice)
  bool link_counts = true;      // st_nlink of files must agree
  bool sockets = true;          // sockets must be on both sides
  bool directory_times = true;  // st_mtime of directories must agree
  bool holes = false;           // where the holes are must agree
  // Times at or after this moment were set by the clock while the test ran; two such count as
  // equal.
  std::optional<struct timespec> clock_since;
  // Files (paths) whose st_nlink on the right may be larger by up to this.
  std::map<std::string, nlink_t> extra_links;
  // S_ISGID of files without S_IXGRP is not compared.
  bool loose_lock_bit = false;
  // Files (paths) that may have lost S_ISUID and S_ISGID on the right.
  std::set<std::string> lost_set_ids;
  // Files (paths) whose holes are not compared.
  std::set<std::string> loose_holes;
};

// Empty if equal, else readable lines of what differs ("left" / "right").
std::string Diff(const TreeSnapshot& left, const TreeSnapshot& right, const CompareRules& rules);
// The same for two nodes.
std::string DiffNodes(const std::string& path, const NodeRecord& left, const NodeRecord& right,
                      const CompareRules& rules);

// Digest over everything in a layer: contents, holes, attributes, mtimes, xattrs, link counts and
// inode numbers. Two equal digests: nobody touched the layer. Does not change atimes.
Result<Digest> LayerDigest(const std::string& layer);

// Bytes as text: what is not printable ASCII becomes \xNN.
std::string Printable(std::string_view bytes);

}  // namespace strata::support
