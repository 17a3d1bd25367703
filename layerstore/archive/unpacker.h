// Unpacks a layer's tar into a directory, in the form overlayfs keeps layers in.
#pragma once

#include <time.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/file_ops.h"
#include "layerstore/archive/confined_tree.h"
#include "layerstore/archive/entry_path.h"
#include "layerstore/archive/tar_reader.h"
#include "layerstore/archive/unpack_options.h"

namespace strata::layerstore {

struct UnpackSummary {
  std::uint64_t entries = 0;
  std::uint64_t size = 0;             // bytes of file content, holes included
  std::uint64_t skipped_devices = 0;  // that this process may not make
};

// Trusts nothing in the archive: every path stays beneath the root and never goes through a
// symbolic link; errors name the entry. What an entry becomes:
//   file, directory, symlink, device, fifo   itself: owner, mode, times, xattrs, ACLs; the last of
//       several entries of one name wins, directories merge
//   hard link    to a name of this layer; absolute names count from the root
//   .wh.NAME     character device 0/0, or where that can not be made the file as it is
//   .wh..wh..opq  trusted.overlay.opaque=y on its directory, or user.overlay.opaque
// A whiteout hides what lies in lower layers only: NAME of the same layer stays, and a directory
// NAME becomes opaque. Without root's rights owners stay those of the caller, and devices and
// attributes that only root may set are left out.
//
// One use, one thread. On error the directory is left half filled; the caller removes it.
class Unpacker {
 public:
  // `root`, borrowed, is a descriptor (not O_PATH) of an empty directory.
  Unpacker(FileOps& ops, int root, const UnpackLimits& limits);

  // Reads the archive to its end.
  Result<UnpackSummary> Run(TarReader& reader);

 private:
  // Where an entry stands: `parent` is borrowed from tree_ and valid until its next use.
  struct Place {
    int parent;
    const char* name;
    const std::string& path;
  };
  using Times = std::array<struct timespec, 2>;
  // Set at the end: making entries changes a directory's times, and its mode may forbid making them
  // to anybody but root.
  struct DirectoryEnd {
    Times times;
    mode_t mode;
  };
  // What had stood at a place before.
  enum class Before : std::uint8_t { kNothing, kWhiteout };

  static constexpr mode_t kPermissionBits = 07777;

  Result<> Handle(TarReader& reader);
  Result<> CheckLimits(const TarEntry& entry);
  Result<> HandleOrdinary(TarReader& reader, const std::string& path);

  // Makes something new by `make`, removing what is in the way first.
  template <class Make>
  Result<Before> MakeFresh(const Place& place, Make make);
  Result<Before> Clear(const Place& place);
  Result<Before> ClearWhiteoutFile(const Place& place);

  Result<> MakeFile(TarReader& reader, const Place& place);
  Result<> MakeDirectory(const TarEntry& entry, const Place& place);
  Result<> MakeSymlink(const TarEntry& entry, const Place& place);
  Result<> MakeDevice(const TarEntry& entry, const Place& place);
  Result<> MakeHardLink(const TarEntry& entry, const std::string& path);
  Result<> MakeMissingDirectory(int parent, const std::string& name, const std::string& path,
                                int why);

  Result<> HideLower(const std::string& directory, std::string_view target);
  Result<> MakeWhiteout(const Place& place);
  Result<> MakeOpaque(const std::string& directory);
  Result<> SetOpaque(int fd);

  Result<> SetRootAttributes(const TarEntry& entry);
  Result<> SetOwner(const TarEntry& entry, const Place& place);
  Result<> SetXattrs(const TarEntry& entry, int fd);
  Result<> SetXattrsAt(const TarEntry& entry, const Place& place, int open_flags);
  Result<> FinishDirectories();
  Result<> FinishDirectory(const std::string& path, const DirectoryEnd& end);
  mode_t InitialMode(const TarEntry& entry) const;
  void ForgetDirectory(std::string_view path);

  FileOps& ops_;
  const int root_;
  const UnpackLimits limits_;
  const bool privileged_;
  ConfinedTree tree_;
  std::map<std::string, DirectoryEnd, std::less<>> directory_ends_;
  bool whiteouts_as_files_ = false;
  bool user_opaque_ = false;
  UnpackSummary summary_;
};

}  // namespace strata::layerstore
