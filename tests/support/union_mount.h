// Mounts a stack of layers with the program under test or with one of its peers, so that every
// check can also be run where the right answer is known.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "tests/support/process.h"
#include "tests/support/uring_setting.h"

namespace strata::support {

enum class Mounter {
  kStratafs,       // $STRATA_BIN_DIR/stratafs
  kOverlay,        // kernel overlayfs, redirect_dir=on,index=on,metacopy=off
  kFuseOverlayfs,  // fuse-overlayfs from $PATH
  kPlain,          // no mount: the layers flattened into the mount point (a native oracle)
};

// "stratafs", "overlay", "fuse-overlayfs", "plain"; EINVAL for others.
Result<Mounter> ParseMounter(std::string_view name);
std::string_view MounterName(Mounter mounter);
// $STRATA_MOUNTER, by default stratafs. Throws (see must.h) if it is none of the names.
Mounter DefaultMounter();
// The program under test; $STRATA_BIN_DIR/stratafs.
std::string StratafsPath();

// $STRATA_TRANSPORT: what stratafs mounts are served by unless a test says otherwise.
std::string DefaultTransport();
// The kernel has none of that: tests skip, with kNoUring.
bool LacksDefaultTransport();

struct UnionSpec {
  std::vector<std::string> lower = {};  // top first
  // stratafs only: has the index of all of `lower`, which then are not named one by one.
  std::string chain = {};
  std::string upper = {};  // empty: read-only
  std::string work = {};
  std::string mount_point = {};
  // stratafs only; empty leaves the default.
  std::string copy_up = {};
  std::string passthrough = {};
  std::string transport = DefaultTransport();
  // Further options, as after -o for the FUSE programs; for kOverlay "key=value" replaces the
  // default of that key.
  std::vector<std::string> options = {};
};

// A mounted union. Unmounted, and its process ended, on destruction. Move-only.
class UnionMount {
 public:
  // Returns when the mount is there. The error's detail holds what the program printed.
  static Result<UnionMount> Start(Mounter mounter, const UnionSpec& spec);

  UnionMount() = default;
  UnionMount(UnionMount&& other) noexcept { *this = std::move(other); }
  UnionMount& operator=(UnionMount&&) noexcept;
  ~UnionMount();

  Mounter mounter() const { return mounter_; }
  const std::string& path() const { return mount_point_; }
  bool mounted() const { return mounted_; }
  // The daemon; -1 where there is none.
  pid_t pid() const { return process_.pid(); }
  ChildProcess& process() { return process_; }
  // What the daemon printed so far.
  std::string Log() const;

  // Unmounts and waits for the daemon to end with exit code 0. Whatever fails, nothing stays
  // mounted or running.
  Result<> Stop();
  // For one whose daemon was ended by a signal: forgets the mount after making sure it is gone.
  void Abandon();

 private:
  Result<> WaitForMount(std::chrono::milliseconds timeout);

  Mounter mounter_ = Mounter::kPlain;
  std::string mount_point_;
  std::string log_path_;
  ChildProcess process_;
  bool mounted_ = false;
  std::optional<UringSetting> uring_;  // while it is served by that
};

// `stratafs --finalize` on the layers of `spec`: afterwards the upper is plain overlayfs form.
Result<> FinalizeUpper(const UnionSpec& spec);

// The -o argument for stratafs and fuse-overlayfs: paths with ':' ',' and '\' escaped.
std::string OptionString(Mounter mounter, const UnionSpec& spec);

}  // namespace strata::support
