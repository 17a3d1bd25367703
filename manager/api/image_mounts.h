// `strata mount`: an image's files in a directory, without a container. Mounts outlive the daemon.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/mutex.h"
#include "base/path.h"
#include "manager/container/rootfs.h"

namespace strata::layerstore {
class Store;
}

namespace strata::manager {

class ImageService;

struct ImageMount {
  std::string id;      // names its directory below mounts/ of the data root
  std::string image;   // as asked for
  std::string target;  // absolute
  bool read_write = false;
  std::string upper;  // "" if read-only
};

// Thread-safe. Each mount is a directory mounts/<id> with mount.json and, if writable, the layer
// its changes go to; the image counts as used while it is there.
class ImageMounts {
 public:
  // `data_root` and `run_root` are the daemon's: a mount over them would hide its own files.
  static Result<std::unique_ptr<ImageMounts>> Open(layerstore::Store& store, ImageService& images,
                                                   const RootFsMounter& mounter,
                                                   std::string data_root, std::string run_root);

  // EINVAL: not an absolute path of a directory, or one that is, is in or holds one of the daemon's
  // roots; EBUSY: something is mounted there.
  Result<ImageMount> Mount(const std::string& image, const std::string& target, bool read_write,
                           CopyUp copy_up);
  // ENOENT: no such mount. The changes of a writable one are deleted.
  Result<> Unmount(const std::string& target);
  Result<std::vector<ImageMount>> List();

 private:
  ImageMounts(layerstore::Store& store, ImageService& images, const RootFsMounter& mounter,
              std::string data_root, std::string run_root)
      : store_(store),
        images_(images),
        mounter_(mounter),
        data_root_(std::move(data_root)),
        run_root_(std::move(run_root)),
        root_(JoinPath(data_root_, "mounts")) {}
  Result<> CheckTarget(const std::string& target) const;
  Result<std::vector<ImageMount>> ListLocked() STRATA_REQUIRES(mu_);
  // At the start, when nothing is being mounted: what a crash or a reboot left.
  Result<> ForgetTheGone() STRATA_REQUIRES(mu_);
  void Forget(const std::string& id);
  // The names of the mounts' directories.
  Result<std::vector<std::string>> Ids();
  // ENOENT for a mount that was not finished; EBADMSG for a record that says nothing.
  Result<ImageMount> ReadRecord(const std::string& id);
  Result<> Prepare(const ImageMount& mount, const std::string& directory);

  layerstore::Store& store_;
  ImageService& images_;
  const RootFsMounter mounter_;
  const std::string data_root_;
  const std::string run_root_;
  const std::string root_;
  Mutex mu_;  // rank: manager/mounts; mounting happens under it
};

}  // namespace strata::manager
