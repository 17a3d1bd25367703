// Under which name a file is looked for that may be stored already.
#pragma once

#include <sys/stat.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/xxh128.h"

namespace strata::layerstore {

// What two files must have in common, beside their content, to be one inode. Neither has extended
// attributes.
struct ObjectTraits {
  std::uint64_t size = 0;
  mode_t mode = 0;  // permission bits with set-id and sticky
  uid_t uid = 0;
  gid_t gid = 0;
  struct timespec mtime = {};

  bool Fit(const struct stat& st) const;
};

// Of the traits and the first kStartBytes of the content: whoever has read them can look for the
// file before writing anything. What has the same key is a candidate, no more. The first half is
// the content's and the size's alone, the same for all files that may share their data. Value type.
class ObjectKey {
 public:
  static constexpr std::size_t kStartBytes = std::size_t{1} << 20U;
  // So many files of a layer that are alike have keys of their own, one Next() to the other.
  static constexpr int kTwinsMax = 64;

  ObjectKey() = default;
  explicit ObjectKey(const Xxh128& value) : value_(value) {}
  // `start`: the content, or the first kStartBytes of it.
  static ObjectKey Of(const ObjectTraits& traits, std::string_view start);

  const Xxh128& value() const { return value_; }
  // Its halves.
  std::uint64_t Content() const { return Half(0); }
  std::uint64_t Traits() const { return Half(1); }
  // Of one more file like that, which is not to be the same inode.
  ObjectKey Next() const;
  // From objects/: "ab/cdef…".
  std::string Path() const;
  // Nothing if it is no such path.
  static std::optional<ObjectKey> FromPath(std::string_view path);
  friend auto operator<=>(const ObjectKey&, const ObjectKey&) = default;

 private:
  ObjectKey(std::uint64_t content, std::uint64_t traits);
  std::uint64_t Half(std::size_t which) const;

  Xxh128 value_;
};

// The room a file of that size takes, wherever it is: whole blocks of 4 KiB.
std::uint64_t RoomOf(std::uint64_t size);

}  // namespace strata::layerstore
