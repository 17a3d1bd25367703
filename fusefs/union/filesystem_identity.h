// What tells filesystems, and the parts of one, apart on disk and from one mount to the next.
#pragma once

#include <sys/stat.h>

#include <array>
#include <cstdint>

namespace strata::fusefs {

using FilesystemUuid = std::array<std::uint8_t, 16>;

struct FilesystemIdentity {
  FilesystemUuid uuid = {};  // as kernel overlayfs sees it; zeros without one
  bool has_volumes = false;  // btrfs subvolumes: the UUID in common, and file handles that differ
  bool lasting_handles = true;  // a file handle names the same file at the next mount

  // Of an open directory's filesystem.
  static FilesystemIdentity Of(int dir);
};

// Some filesystems are several, each with a st_dev of its own, and inodes that have the numbers of
// the others': btrfs with its subvolumes, kernel overlayfs over several filesystems. A number for
// the one that dir/name is in, which stays where the filesystem can tell. `st` is what dir/name is.
std::uint64_t VolumeOf(int dir, const char* name, const struct stat& st);

}  // namespace strata::fusefs
