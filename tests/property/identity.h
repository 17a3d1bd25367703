// What makes a file of the model the same file for its whole life, and which st_ino the union
// showed for it.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace strata::property {

// Inode number and birth time: ext4 gives numbers out again, but not at the same nanosecond.
struct Identity {
  std::uint64_t ino = 0;
  std::int64_t birth = 0;  // nanoseconds
  auto operator<=>(const Identity&) const = default;
};

// Of what `path` names below `dir` (AT_SYMLINK_NOFOLLOW unless `follow`), or of `dir` itself for an
// empty path. Nothing if there is no such file.
std::optional<Identity> IdentityOf(int dir, const std::string& path, bool follow = false);

// Remembers the union's st_ino of every file. It must never change, nor be shared by two files that
// exist at the same time.
class InodeBook {
 public:
  // Empty if this agrees with what was seen before, else what is wrong.
  std::string Check(const Identity& identity, ino_t union_ino);

 private:
  std::map<Identity, ino_t> seen_;
};

}  // namespace strata::property
