// The names a sequence works with: few, so that operations meet each other; some of them awkward.
// Paths that were made once are remembered and picked often.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/property/random.h"

namespace strata::property {

class NamePool {
 public:
  explicit NamePool(Random& random) : random_(random) {}

  std::string Name();
  // A random path, mostly one that exists or did once.
  std::string Path();
  std::string KnownDir();
  std::string KnownFile();
  // A path to create something at: mostly a new name in a known directory.
  std::string NewPath();

  // Remembers that something was (tried to be) made there.
  void AddDir(const std::string& path) { Add(dirs_, path); }
  void AddFile(const std::string& path) { Add(files_, path); }
  // After a rename: what was below `from` may be below `to` now.
  void Move(const std::string& from, const std::string& to);

 private:
  static void Add(std::vector<std::string>& list, const std::string& path);
  static void MoveIn(std::vector<std::string>& list, const std::string& from,
                     const std::string& to);

  Random& random_;
  std::vector<std::string> dirs_;
  std::vector<std::string> files_;
};

// Attributes and extended attributes as real layers have them.
mode_t RandomFileMode(Random& random);
mode_t RandomDirMode(Random& random);
uid_t RandomOwner(Random& random);
std::int64_t RandomTime(Random& random);
struct NamedXattr {
  std::string name;
  std::string value;
};
NamedXattr RandomXattr(Random& random);

}  // namespace strata::property
