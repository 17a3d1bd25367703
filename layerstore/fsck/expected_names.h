// Which of a tar's entries still show in the directory it was unpacked to.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace strata::layerstore {

// Filled with all entries in the tar's order, then asked. Names are kept as hashes: two that
// collide hide a difference, never make one up. Not thread-safe.
class ExpectedNames {
 public:
  enum class What : std::uint8_t {
    kDirectory,
    kOther,     // replaces whatever was there, a whole directory included
    kImplied,   // a directory that only stands on the way to another name
    kWhiteout,  // of this name
    kOpaque,    // the marker in this directory
  };
  void Add(std::string_view path, What what);
  // After the last one.
  void Finish();

  // Whether anything of this name may be in the directory.
  bool Contains(std::string_view path) const;
  // Whether an entry of the layer's own stands there, so that a whiteout does not show.
  bool HasOwn(std::string_view path) const;
  // Whether the entry that was added as number `ordinal` (from 1) is the one that shows: not
  // replaced by a later one of its name, nor with a directory that it was in.
  bool Shows(std::string_view path, std::uint32_t ordinal) const;
  // Whether the directory that was there at entry `ordinal` still is: later entries of directories
  // change it, all others take it away.
  bool Survives(std::string_view directory, std::uint32_t ordinal) const;
  // Whether the tar has exactly one entry of this name.
  bool Once(std::string_view path) const;
  // Whether a directory of this name may hide what is below it.
  bool MayBeOpaque(std::string_view path) const;
  // Whether the tar has names in it, but no entry for it.
  bool IsImplied(std::string_view path) const;
  std::uint32_t size() const { return count_; }

 private:
  struct Name {
    std::uint64_t hash = 0;
    std::uint32_t last = 0;        // entry of this name
    std::uint32_t last_other = 0;  // of those that are no directory
    bool own = false;
    bool repeated = false;
    bool hides = false;  // there is a whiteout of it, or an opaque marker in it
  };
  const Name* Find(std::string_view path) const;

  std::vector<Name> names_;
  std::uint32_t count_ = 0;
  std::uint64_t last_implied_ = 0;
};

}  // namespace strata::layerstore
