// A union for all cases at once, and the kinds of names a case can meet in it: in the upper layer,
// in a lower one, copied up, behind a redirect... A kind is one row of a table.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "tests/conformance/posix/suite.h"
#include "tests/support/temp_root.h"
#include "tests/support/union_mount.h"

namespace strata::conformance {

// How the union is mounted.
struct Variant {
  std::string_view name;
  std::string_view copy_up;
  std::string_view passthrough;
  std::string_view options = {};  // further ones, as after -o
};

// Every way of mounting the suites are run with; the first is the default one.
std::span<const Variant> Variants();

// The layers, and the mount. Not thread-safe.
class World {
 public:
  // Below `base`, an existing directory.
  World(const std::string& base, const std::vector<Script>& scripts, const Variant& variant);

  const std::vector<Script>& scripts() const { return scripts_; }
  // Directories; layer 0 is the bottom one.
  std::string Lower(std::size_t layer) const;
  std::string Upper() const { return base_ + "/upper"; }
  std::string At() const { return base_ + "/mnt"; }

  // Runs the setup of all cases below `directory`; throws if a line fails that should not.
  void SetUp(const std::string& directory);
  // Mounts with stratafs; remembers what the lower layers hold.
  void Mount();
  // The same layers under kernel overlayfs.
  void MountOverlay();
  // Throws if the daemon does not end well.
  void Unmount();
  // Makes the upper layer one that kernel overlayfs can read: no file is copied up in part any
  // more.
  void Finalize();
  // Whether the lower layers still are what they were.
  bool LowersUntouched() const;

 private:
  support::UnionSpec Spec() const;
  void Start(support::Mounter mounter);

  std::string base_;
  const std::vector<Script>& scripts_;
  const Variant& variant_;
  std::vector<Digest> digests_;
  support::UnionMount mount_;
};

struct Kind {
  std::string_view name;
  // Makes the directories of the cases, with what their setup makes, in the union; leaves it
  // mounted.
  void (*prepare)(World& world);
};

std::span<const Kind> Kinds();
const Kind& FindKind(std::string_view name);

}  // namespace strata::conformance
