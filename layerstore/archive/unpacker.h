// Unpacks a layer's tar into a directory, in the form overlayfs keeps layers in.
#pragma once

#include <sys/stat.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/file_ops.h"
#include "base/unique_fd.h"
#include "layerstore/archive/bounded_names.h"
#include "layerstore/archive/confined_tree.h"
#include "layerstore/archive/entry_path.h"
#include "layerstore/archive/inode_set.h"
#include "layerstore/archive/pending_directories.h"
#include "layerstore/archive/shared_files.h"
#include "layerstore/archive/tar_reader.h"
#include "layerstore/archive/unpack_options.h"
#include "layerstore/archive/unpack_recorder.h"

namespace strata::layerstore {

class FileBlocks;

struct UnpackSummary {
  std::uint64_t entries = 0;
  std::uint64_t size = 0;             // bytes of file content, holes included
  std::uint64_t skipped_devices = 0;  // that this process may not make
  std::uint64_t room = 0;             // of files and directories, in whole blocks (RoomOf)
};

// Trusts nothing in the archive: every path stays beneath the root and never goes through a
// symbolic link; errors name the entry. What an entry becomes:
//   file, directory, symlink, device, fifo   itself: owner, mode, times, xattrs, ACLs; the last of
//       several entries of one name wins, directories merge; one in the place of something else is
//       opaque
//   hard link    to a name of this layer, which may come later; absolute names count from the root
//   .wh.NAME     character device 0/0, or where that can not be made the file as it is
//   .wh..wh..opq  trusted.overlay.opaque=y on its directory, or user.overlay.opaque
// A whiteout hides what lies in lower layers only: NAME of the same layer stays, and a directory
// NAME becomes opaque. Without root's rights owners stay those of the caller, and devices and
// attributes that only root may set are left out. What the host's directory hands down (default
// ACLs, a set-group-id bit's group) does not come into the layer. Memory does not grow with it.
//
// One use, one thread. On error the directory is left half filled; the caller removes it.
class Unpacker {
 public:
  // `root`, borrowed, is a descriptor (not O_PATH) of an empty directory. `recorder`, which may be
  // null, is told of contents; the literal bytes are the reader's to tell. `shared`, which may be
  // null, is asked for files that are stored already.
  Unpacker(FileOps& ops, int root, const UnpackLimits& limits, UnpackRecorder* recorder = nullptr,
           SharedFiles* shared = nullptr);

  // Reads the archive to its end.
  Result<UnpackSummary> Run(TarReader& reader);
  // After that; sealed.
  UnpackedInodes TakeInodes();

 private:
  // Where an entry stands: `parent` is borrowed from tree_ and valid until its next use.
  struct Place {
    int parent;
    const char* name;
    const std::string& path;
  };

  static constexpr mode_t kPermissionBits = 07777;
  static constexpr mode_t kOwnerAll = 0700;

  static std::array<struct timespec, 2> TimesOf(const TarEntry& entry);

  Result<> Handle(TarReader& reader);
  Result<> CheckLimits(const TarEntry& entry);
  Result<> CheckXattrs(const TarEntry& entry) const;
  Result<> HandleOrdinary(TarReader& reader, const std::string& path);

  // Makes something new by `make`, removing what is in the way first.
  Result<> MakeFresh(const Place& place, const std::function<Result<>()>& make);
  Result<> Clear(const Place& place);
  Result<> RemoveReplaced(const Place& place, const struct stat& st);
  // Whether there was one.
  Result<bool> ClearWhiteoutFile(const Place& place);

  Result<> MakeFile(TarReader& reader, const Place& place);
  Result<bool> FindStored(const TarEntry& entry, FileBlocks& blocks, StoredFile& stored);
  // Whether it is linked. Drops it if its content is another after all.
  Result<bool> LinkStored(const Place& place, StoredFile& stored);
  Result<bool> IsNext(const std::optional<TarReader::Block>& block, std::int64_t compared,
                      const TarEntry& entry, int stored);
  Result<bool> HasBytes(int file, std::string_view data, std::int64_t offset);
  Result<> TakeData(UniqueFd stored, int file, std::int64_t length);
  // Whether open(2) can give a new file the entry's mode.
  bool IsMadeWithMode(const TarEntry& entry) const;
  Result<UniqueFd> MakeEmptyFile(const TarEntry& entry, const Place& place);
  Result<> FinishFile(const TarEntry& entry, int fd);
  // Opaque if something else was in its place, or if `hides_lower`.
  Result<> MakeDirectory(const TarEntry& entry, const Place& place, bool hides_lower);
  Result<> MakeSymlink(const TarEntry& entry, const Place& place);
  Result<> MakeDevice(const TarEntry& entry, const Place& place);
  // Opens a directory in which something is going to be made, making it if it is missing. The
  // descriptor is tree_'s.
  Result<int> EnterDirectory(const std::string& path);
  Result<int> OpenOrMake(const std::string& path);
  Result<> MakeMissingDirectory(int parent, const std::string& name, const std::string& path,
                                int why);

  Result<> HandleHardLink(const TarEntry& entry, const std::string& path);
  Result<std::string> LinkTarget(const std::string& link) const;
  Result<UniqueFd> OpenLinkTargetDirectory(const std::string& target);
  Result<> MakeHardLink(int target_parent, const std::string& target, const std::string& path);
  Result<> MakeLateLinks();
  Result<> MakeLateLink(const std::string& path, std::string link);

  Result<> HideLower(const std::string& directory, std::string_view target);
  Result<> MakeWhiteout(const Place& place);
  Result<> MakeOpaque(const std::string& directory);
  Result<> SetMark(int fd, std::string (OverlayXattrs::*mark)() const);
  Result<> SetOpaque(int fd);
  // That only paths name the directory; until there is an entry for it.
  Result<> MarkImplied(int fd);
  Result<> DropImplied(int fd);
  // It has got extended attributes.
  Result<> NoteXattrs(int fd);

  Result<> SetRootAttributes(const TarEntry& entry);
  // Whether what is made in the directory entered last has the entry's owner from the beginning.
  bool IsMadeWithOwner(const TarEntry& entry) const;
  Result<> SetOwner(const TarEntry& entry, const Place& place);
  Result<> SetXattrs(const TarEntry& entry, int fd);
  Result<> SetXattrsAt(const TarEntry& entry, const Place& place, int open_flags);
  Result<> SetXattr(const std::string& entry, int fd, const std::string& name,
                    std::string_view value);
  mode_t InitialMode(const TarEntry& entry) const;

  // Making things in a directory changes its times, and its default ACL would pass on to them: both
  // come at the end.
  Result<> DropInheritedAcls();
  Result<> HoldDirectory(const std::string& path, int fd);
  // After the xattrs: an access ACL has a mode of its own, which is returned and may have closed
  // the directory to a plain user.
  Result<mode_t> KeepOpen(const TarEntry& entry, int fd);
  Result<> EndLater(const TarEntry& entry, const std::string& path, mode_t mode);
  Result<> FinishExcess();
  Result<> FinishDirectories();
  Result<> FinishDirectory(const PendingDirectories::Directory& directory);
  void ForgetDirectory(std::string_view path);

  FileOps& ops_;
  const int root_;
  const UnpackLimits limits_;
  UnpackRecorder* const recorder_;
  SharedFiles* const shared_;
  const bool privileged_;
  const gid_t own_group_;
  const mode_t umask_;
  gid_t entered_group_ = 0;  // of the directory entered last
  ConfinedTree tree_;
  PendingDirectories pending_;
  // Modes that would keep a plain user from making things inside; set at the end.
  BoundedNames<mode_t> closed_;
  // Hard links whose targets are not there yet, as the archive spells them. They count as made,
  // and nothing is in their place.
  BoundedNames<std::string> late_links_;
  std::uint64_t implied_directories_ = 0;
  std::uint64_t name_bytes_ = 0;
  bool whiteouts_as_files_ = false;
  bool user_marks_ = false;
  UnpackedInodes inodes_;
  std::string start_;                // of the content of a file that may be stored already
  std::vector<std::byte> compared_;  // what such a file has
  UnpackSummary summary_;
};

}  // namespace strata::layerstore
