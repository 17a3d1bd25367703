// A member of a layer's tar, and how it is written down.
#pragma once

#include <time.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace strata::property {

struct LayerEntry {
  enum class Kind : std::uint8_t {
    kFile,
    kDirectory,
    kSymlink,
    kHardLink,
    kCharDevice,
    kBlockDevice,
    kFifo,
  };
  enum class Form : std::uint8_t { kV7, kUstar, kGnu, kPax };
  enum class Sparse : std::uint8_t { kNone, kGnu, kPax00, kPax01, kPax10 };

  // As the archive spells it, without what stands in front: "", "./", "/".
  std::string path;
  std::string lead = {};
  Kind kind = Kind::kFile;
  Form form = Form::kPax;
  std::string link = {};  // a symlink's target as it is; a hard link's like `path`
  std::string link_lead = {};
  unsigned mode = 0644;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  struct timespec mtime = {};
  unsigned device_major = 0;
  unsigned device_minor = 0;
  std::string content = {};
  Sparse sparse = Sparse::kNone;
  std::vector<std::pair<std::size_t, std::size_t>> data = {};  // sparse: where, how long
  std::map<std::string, std::string> xattrs = {};
  std::string acl = {};  // as text, the way pax archives have it
  std::string default_acl = {};
  bool old_type = false;           // a file of type NUL instead of 0
  bool libarchive_xattrs = false;  // written in libarchive's form
  bool base256 = false;            // GNU: numbers that would fit in octal, too
};

using LayerEntries = std::vector<LayerEntry>;

// Layers of one image, base first, and what is odd about them.
struct LayerCase {
  std::vector<LayerEntries> layers;
  std::set<std::string> oddities;
};

}  // namespace strata::property
