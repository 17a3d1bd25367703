// Mounts root filesystems: image layers and an upper directory joined by a stratafs process, one
// per mount. The process does not depend on this daemon and ends when its mount is taken away.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "manager/container/types.h"

namespace strata::manager {

struct RootFsRequest {
  std::vector<std::string> layers;  // directories, top first; at least one
  // The directory with the index of the lowest `chain_layers` of them; "" if there is none.
  std::string chain;
  std::size_t chain_layers = 0;
  std::string upper;   // "" mounts read-only
  std::string work;    // on the same filesystem as upper
  std::string target;  // an existing directory
  CopyUp copy_up = CopyUp::kWrite;
  std::string log_file;  // where the process's stderr goes
};

enum class MountState { kAbsent, kLive, kBroken };

// Thread-safe; holds only the program's path.
class RootFsMounter {
 public:
  explicit RootFsMounter(std::string stratafs) : stratafs_(std::move(stratafs)) {}

  const std::string& program() const { return stratafs_; }

  // Returns when the mount answers. EIO with what stratafs said.
  Result<> Mount(const RootFsRequest& request) const;
  // Takes the mount away; lazily if something still uses it. Succeeds when there is none.
  static Result<> Unmount(const std::string& target);
  // kBroken: a FUSE mount whose process has died.
  static MountState State(const std::string& target);

 private:
  std::string stratafs_;
};

// `text` as an option value: stratafs reads "\:", "\," and "\\" as the plain character.
std::string EscapeOption(const std::string& text);

}  // namespace strata::manager
