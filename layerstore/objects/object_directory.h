// objects/: files that layers have in common, each under a name made of its key.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/file_ops.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "layerstore/objects/object_key.h"
#include "layerstore/objects/object_names.h"

namespace strata::layerstore {

// An object is one more name of a file that a layer has; it is no copy, and nothing is lost with
// it. Nobody relies on what is in there: a crash may leave files that were never finished, so a
// candidate's attributes and bytes are compared before it is used. Where the filesystem lets files
// share data (reflink), those that have only that in common do. Thread-safe; several processes may
// work on one.
class ObjectDirectory {
 public:
  ObjectDirectory(FileOps& ops, UniqueFd dir) : ops_(ops), dir_(std::move(dir)) {}

  // The file of that key, open for reading, if it is there and has these traits.
  struct Found {
    UniqueFd fd;         // invalid: none that fits
    bool taken = false;  // the key's name is in use, whatever has it
  };
  Result<Found> Find(const ObjectKey& key, const ObjectTraits& traits);

  // A file of that size which may have the key's content, with whatever attributes, open for
  // reading, if it may be cloned (MayClone). Invalid: none is known.
  Result<UniqueFd> FindAlike(const ObjectKey& key, std::uint64_t size);
  // Whether files of that size may share their data: the filesystem can, and it is worth it.
  Result<bool> MayClone(std::uint64_t size);
  // Lets the empty `to` share the first `length` bytes of an object. False if that can not be done;
  // it is still empty then.
  Result<bool> Clone(int object, int to, std::uint64_t length);

  // Makes dir/name a link to what Find() gave. False if it can have no more, or is no object any
  // more; EEXIST.
  Result<bool> Link(int found, int dir, const char* name);

  // Gives dir/name, a finished file without extended attributes, the key's name. False if that is
  // in use, or the file can have no further name.
  Result<bool> Add(int dir, const char* name, const ObjectKey& key);
  // The same, but takes the name from who has it. `scratch` is a directory for a name on the way.
  Result<bool> Replace(int dir, const char* name, int scratch, const ObjectKey& key);

  // Removes the object if no layer has the file any more; returns the room that freed (RoomOf):
  // none as long as others have the same content and may share its data.
  Result<std::uint64_t> Drop(const ObjectKey& key);
  // The same for all; returns the room of those that stay, counting what they may share once.
  Result<std::uint64_t> Sweep();
  // Calls `each` for all that lies there, by its path from objects/, in no order.
  using Each = std::function<Result<>(const std::string& path, const struct stat& st)>;
  Result<> ForEach(const Each& each);
  // An object, if it is there.
  Result<std::optional<struct stat>> Look(const ObjectKey& key);
  // An object, by its path from objects/, if it is there and no layer has the file.
  Result<std::optional<struct stat>> FindUnused(const std::string& path);
  // Whether some layer has the file, too.
  static bool InUse(const struct stat& object) { return object.st_nlink > 1; }

 private:
  Result<std::optional<struct stat>> LookAt(const std::string& path);
  Result<> ForEachIn(const std::string& fan, const Each& each);
  // Without asking who uses it; gone already: success.
  Result<> Remove(const std::string& path);
  // Remove(), and whether there is another object of that content.
  Result<bool> RemoveOneOfSeveral(const ObjectKey& key);
  Result<> LoadNames(const ObjectKey& key) STRATA_REQUIRES(mu_);
  // By trying; nothing if there is no room to try now.
  Result<std::optional<bool>> TryCloning();

  FileOps& ops_;
  const UniqueFd dir_;
  Mutex mu_;  // leaf; held while a directory is listed, and while one of several objects is removed
  std::optional<bool> clones_ STRATA_GUARDED_BY(mu_);  // once it was tried
  ObjectNames names_ STRATA_GUARDED_BY(mu_);           // empty unless clones_
};

}  // namespace strata::layerstore
