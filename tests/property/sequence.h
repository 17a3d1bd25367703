// What a model test runs: how the layers look and what is done to their union. Plain data, so that
// it can be generated, written to a file, shrunk and replayed. Versioned text form in
// sequence_text.h.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace strata::property {

// Device nodes get a major number that is set aside for experiments and has no driver
// (Documentation/admin-guide/devices.txt), so that opening one for writing harms nothing.
inline constexpr unsigned kTestMajor = 120;

enum class LayerKind : std::uint8_t {
  kDir,       // path mode uid gid mtime
  kFile,      // path mode uid gid mtime, size bytes from seed; with hole: written at the end only
  kSymlink,   // path, text: target
  kFifo,      // path mode
  kCharDev,   // path mode, size: minor number (major kTestMajor)
  kBlockDev,  // path mode, size: minor number (major kTestMajor)
  kHardLink,  // text: existing path, path: new one
  kWhiteout,  // path
  kOpaque,    // path of a directory of this layer
  kMoveDir,  // what a rename of a directory leaves: text: old path (gets a whiteout), path: the new
             // directory with a redirect to the old one
  kXattr,    // path, name, text: value
};

// One step of building a layer. Steps that make no sense (a missing parent, an existing name) are
// skipped, so any subset of a layer's commands is a layer.
struct LayerCommand {
  LayerKind kind = LayerKind::kDir;
  std::string path;
  std::string text;
  std::string name;
  mode_t mode = 0755;
  uid_t uid = 0;
  gid_t gid = 0;
  std::int64_t mtime = 0;  // nanoseconds
  std::int64_t size = 0;
  std::uint32_t seed = 0;
  bool hole = false;
  bool operator==(const LayerCommand&) const = default;
};

enum class OpKind : std::uint8_t {
  kOpen,         // slot path flags mode
  kClose,        // slot
  kRead,         // slot a:offset b:length (pread)
  kReadNext,     // slot b:length (read at the file position)
  kWrite,        // slot a:offset b:length seed (pwrite)
  kWriteNext,    // slot b:length seed (write; with O_APPEND at the end)
  kMapRead,      // slot b:length (MAP_SHARED, PROT_READ)
  kMapWrite,     // slot a:offset b:length seed (MAP_SHARED, msync)
  kFTruncate,    // slot a:size
  kTruncate,     // path a:size
  kFallocate,    // slot flags a:offset b:length
  kSeek,         // slot flags:SEEK_DATA|SEEK_HOLE a:offset
  kCopyRange,    // slot (from) slot2 (to) a:from offset b:length seed:to offset
  kFsync,        // slot
  kStat,         // path (no follow)
  kFStat,        // slot
  kReadDir,      // path
  kReadDirOpen,  // slot (rewound first)
  kReadLink,     // path
  kAccess,       // path mode (effective ids)
  kStatFs,       // path
  kMkdir,        // path mode
  kRmdir,        // path
  kUnlink,       // path
  kSymlink,      // path, text: target
  kMknod,        // path mode (with type) a:minor
  kLink,         // path (existing) path2
  kRename,       // path path2 flags
  kChmod,        // path mode
  kFChmod,       // slot mode
  kChown,        // path (no follow) a:uid b:gid (-1 leaves it)
  kFChown,       // slot a:uid b:gid
  kUtimes,       // path (no follow) a:mtime in ns, or -1 for now
  kFUtimes,      // slot a
  kSetXattr,     // path (no follow) name text flags
  kFSetXattr,    // slot name text flags
  kGetXattr,     // path name
  kListXattr,    // path
  kRemoveXattr,  // path name
};
inline constexpr int kOpKinds = static_cast<int>(OpKind::kRemoveXattr) + 1;
inline constexpr int kSlots = 6;

struct Operation {
  OpKind kind = OpKind::kStat;
  std::uint32_t slot = 0;
  std::uint32_t slot2 = 0;
  // Relative to the root of the sequence, or to the directory open in slot `base - 1` if base > 0.
  std::string path;
  std::string path2;
  std::string name;
  std::string text;
  std::uint32_t base = 0;
  std::uint32_t flags = 0;
  mode_t mode = 0;
  std::int64_t a = 0;
  std::int64_t b = 0;
  std::uint32_t seed = 0;
  uid_t as = 0;  // the effective uid and gid; 0 is root
  bool operator==(const Operation&) const = default;
};

struct Sequence {
  std::uint64_t seed = 0;
  // Bottom first. With `upper_prefilled` the last one is what an earlier mount left in the upper.
  std::vector<std::vector<LayerCommand>> layers;
  bool upper_prefilled = false;
  mode_t umask = 022;
  std::vector<Operation> operations;
  bool operator==(const Sequence&) const = default;
};

}  // namespace strata::property
