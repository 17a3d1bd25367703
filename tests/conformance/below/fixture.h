// Unions over layers on chosen filesystems.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/conformance/below/scenario.h"
#include "tests/conformance/union_fixture.h"
#include "tests/support/test_disk.h"
#include "tests/support/tree_snapshot.h"

namespace strata::conformance {

class BelowTest : public UnionTest {
 protected:
  // Makes an existing directory the topmost lower layer.
  void AddLower(const std::string& path) { layers_.push_back(path); }
  support::TestDisk MakeDisk(const std::string& name, support::Filesystem type) const {
    return Must(support::TestDisk::Create(root_, name, type));
  }

  // The union of the lower layers and the upper, which is not yet changed, as a plain directory.
  void MakePlain(const std::string& directory) const;

  // Has the kernel forget all names and inodes of a mounted filesystem that are not in use, as
  // memory running out would.
  static void DropCaches(const std::string& mount_point);

  // What every name is: its st_ino, after checking that st_dev is the mount's, that listings tell
  // the same number, and that no two files share one which are not links of one file in `plain`.
  std::map<std::string, ino_t> Numbers(const support::TreeSnapshot& plain) const;

  // With the lower layers in place: changes the union and a plain copy at `plain`, and compares;
  // again after dropping caches, after a remount, and as kernel overlayfs shows it.
  void ActAsPlain(const std::string& plain, const Holds& holds,
                  const std::vector<std::string>& options);
};

}  // namespace strata::conformance
