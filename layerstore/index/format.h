// The bytes of an index file: docs/formats/index.md. Records are laid over the mapped file, so they
// have no alignment and their numbers are little endian on every machine.
#pragma once

#include <array>
#include <cstdint>
#include <type_traits>

#include "base/little.h"

namespace strata::layerstore::format {

using strata::Little;

inline constexpr std::array<char, 8> kMagic = {'S', 'T', 'R', 'A', 'T', 'I', 'D', 'X'};
inline constexpr std::uint32_t kVersion = 2;
// Bytes of the body that share a checksum.
inline constexpr std::uint64_t kBlock = std::uint64_t{64} * 1024;
// In place of a number of a directory, and of an identity.
inline constexpr std::uint32_t kNone = ~std::uint32_t{0};

enum Kind : std::uint32_t { kLayer = 1, kChain = 2 };
enum HeaderFlag : std::uint32_t { kUserMarks = 1U << 0U };

struct Header {
  std::array<char, 8> magic{};
  Little<std::uint32_t> version;
  Little<std::uint32_t> kind;
  Little<std::uint32_t> flags;
  Little<std::uint32_t> layers;
  Little<std::uint32_t> directories;
  Little<std::uint32_t> entries;
  Little<std::uint32_t> moves;
  Little<std::uint32_t> paths;     // bytes of the layers' paths
  Little<std::uint64_t> strings;   // bytes of the string pool
  Little<std::uint64_t> checksum;  // of the head, this field zero
};

// Where a layer is, and what proves that it is the one that was indexed.
struct LayerRecord {
  Little<std::uint64_t> root_ino;
  Little<std::int64_t> ctime_sec;
  Little<std::uint32_t> ctime_nsec;
  Little<std::uint32_t> block_size;
  Little<std::uint32_t> path_at;  // in the paths
  Little<std::uint32_t> path_length;
};

struct DirectoryRecord {
  Little<std::uint32_t> first;  // its entries stand together, sorted by name
  Little<std::uint32_t> count;
  Little<std::uint32_t> entry;   // its own
  Little<std::uint32_t> parent;  // lower than its own number; the root's is kNone
  Little<std::uint32_t> first_move;
  Little<std::uint32_t> moves;
};

enum EntryFlag : std::uint16_t {
  kWhiteout = 1U << 0U,   // layer index: hides a name of the layers below
  kOpaque = 1U << 1U,     // layer index: a directory below which nothing of the layers below shows
  kAlone = 1U << 2U,      // layer index: a directory with a `.wh.` file of its name beside it
  kHasXattrs = 1U << 3U,  // some that users see
  kMerged = 1U << 4U,     // chain index: a directory that is in several layers
  kMetacopy = 1U << 5U,   // a file whose data kernel overlayfs left in a lower layer
  kImplied = 1U << 6U,  // a directory that is there for the names in it: attributes come from below
};

struct EntryRecord {
  Little<std::uint64_t> ino;
  Little<std::uint64_t> size;
  Little<std::uint64_t> blocks;  // of 512 bytes
  Little<std::uint64_t> rdev;
  Little<std::int64_t> mtime_sec;
  Little<std::int64_t> ctime_sec;
  Little<std::int64_t> atime_sec;
  Little<std::uint32_t> mtime_nsec;
  Little<std::uint32_t> ctime_nsec;
  Little<std::uint32_t> atime_nsec;
  Little<std::uint32_t> mode;
  Little<std::uint32_t> uid;
  Little<std::uint32_t> gid;
  Little<std::uint32_t> nlink;      // of a file, the names it has within its layer
  Little<std::uint32_t> parent;     // number of the directory it is in; the root's is kNone
  Little<std::uint32_t> directory;  // its own number, of a directory; kNone
  Little<std::uint32_t> name_at;    // in the string pool
  Little<std::uint32_t> target_at;  // of a symbolic link, or the redirect of a directory
  // Of a file whose inode other files have, too: the number of its first name in the index of its
  // layer. kNone: the inode's number stands for the file.
  Little<std::uint32_t> identity;
  Little<std::uint16_t> target_length;
  Little<std::uint16_t> layer;
  Little<std::uint16_t> flags;
  Little<std::uint8_t> name_length;
  Little<std::uint8_t> reserved;
};

// Chain index: in layers first..last a directory is found under another path than in the union.
struct MoveRecord {
  Little<std::uint16_t> first;
  Little<std::uint16_t> last;
  Little<std::uint32_t> path_at;  // in the string pool; from the layer's root, no leading slash
  Little<std::uint32_t> path_length;
};

static_assert(sizeof(Header) == 56 && alignof(Header) == 1);
static_assert(sizeof(LayerRecord) == 32 && sizeof(DirectoryRecord) == 24);
static_assert(sizeof(EntryRecord) == 112 && sizeof(MoveRecord) == 12);
static_assert(std::is_trivially_copyable_v<EntryRecord>);

}  // namespace strata::layerstore::format
