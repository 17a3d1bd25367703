// Named volumes: directories under volumes/<name>/_data of the data root, with what is known of
// them in volumes/<name>/volume.json.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/mutex.h"

namespace strata::manager {

struct Volume {
  std::string name;
  std::string mountpoint;    // absolute
  std::int64_t created = 0;  // Unix seconds
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> options;
  bool anonymous = false;  // named by the daemon for one container
};

// Thread-safe. A volume exists when its volume.json does; that file is written last and removed
// first.
class VolumeStore {
 public:
  // `root` is made (mode 0711) if it is not there; leftovers of an interrupted removal are removed.
  static Result<std::unique_ptr<VolumeStore>> Open(std::string root);

  // The volume of that name, made if there is none (then *created is true). EINVAL for a bad name.
  Result<Volume> Create(const Volume& wanted, bool* created = nullptr);
  // ENOENT "no such volume".
  Result<Volume> Find(const std::string& name);
  Result<std::vector<Volume>> List();
  // Deletes the content. ENOENT. Whether anyone uses it, the caller has checked.
  Result<> Remove(const std::string& name);

  // Fills an empty volume from `path` in the root that `rootfs` (a directory's descriptor) holds,
  // resolved inside of it. Nothing happens if the volume has content or the path is no directory.
  Result<> Seed(const Volume& volume, int rootfs, const std::string& path);

 private:
  explicit VolumeStore(std::string root) : root_(std::move(root)) {}
  Result<Volume> ReadLocked(const std::string& name) STRATA_REQUIRES(mu_);

  const std::string root_;
  Mutex mu_;  // rank: manager/volume; file system calls happen under it
};

// Deletes a directory tree without following symbolic links; ENOENT is success.
Result<> RemoveTree(const std::string& path);

}  // namespace strata::manager
