// What directories of a layer being unpacked get when nothing more is made in them.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <array>
#include <cstddef>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace strata::layerstore {

struct DirectoryEnd {
  std::array<struct timespec, 2> times = {};  // access, modification
  std::string default_acl;                    // the xattr's value; "" for none
  gid_t group = 0;                            // that it has already
};

// The directories used last. Whoever fills it takes out what is too much, and puts a directory in
// again when it is needed once more; so memory does not depend on the layer. Not thread-safe.
class PendingDirectories {
 public:
  struct Directory {
    std::string path;
    DirectoryEnd end;
  };

  // At most `count` directories, and `bytes` of paths and ACLs.
  PendingDirectories(std::size_t count, std::size_t bytes) : count_max_(count), bytes_max_(bytes) {}

  // Marks a directory as used now; nullptr if it is not here. Valid until the next change.
  const DirectoryEnd* Use(std::string_view path);
  // Adds or replaces; used now.
  void Put(const std::string& path, DirectoryEnd end);
  // Without a word for the directory and all below it.
  void Forget(std::string_view path);

  // Takes out the one not used for longest while there are too many.
  std::optional<Directory> TakeExcess();
  // Takes out the last by name, so directories come before their parents.
  std::optional<Directory> TakeLast();

  std::size_t size() const { return directories_.size(); }

 private:
  struct Pending {
    DirectoryEnd end;
    std::list<std::string_view>::iterator use;
  };
  using Map = std::map<std::string, Pending, std::less<>>;

  static std::size_t Bytes(const std::string& path, const DirectoryEnd& end) {
    return path.size() + end.default_acl.size();
  }
  Map::iterator Erase(Map::iterator it);
  Directory Take(Map::iterator it);

  const std::size_t count_max_;
  const std::size_t bytes_max_;
  Map directories_;
  std::list<std::string_view> uses_;  // keys of directories_, the last used in front
  std::size_t bytes_ = 0;
};

}  // namespace strata::layerstore
