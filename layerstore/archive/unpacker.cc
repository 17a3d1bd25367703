#include "layerstore/archive/unpacker.h"

#include <sys/sysmacros.h>
#include <unistd.h>

#include <charconv>
#include <limits>
#include <utility>

#include "base/logging.h"
#include "base/path.h"
#include "base/remove_tree.h"
#include "base/try.h"
#include "layerstore/index/marks.h"

namespace strata::layerstore {
namespace {

constexpr mode_t kImpliedDirectoryMode = 0755;
constexpr std::int64_t kIdMax = std::numeric_limits<uid_t>::max() - 1;  // -1 means "leave"

// What the kernel takes out of the modes that files are made with. Where it does not tell, it may
// be all of them.
mode_t ReadUmask() {
  constexpr mode_t kAll = 0777;
  constexpr std::size_t kStatusMax = std::size_t{1} << 16U;
  constexpr std::string_view kField = "\nUmask:\t";
  FileOps& ops = FileOps::System();
  const auto file = ops.Open(AT_FDCWD, "/proc/self/status", O_RDONLY);
  if (!file) return kAll;
  const auto status = ReadAll(ops, file->get(), kStatusMax);
  if (!status) return kAll;
  const std::size_t at = status->find(kField);
  if (at == std::string::npos) return kAll;
  mode_t mask = kAll;
  const char* begin = status->data() + at + kField.size();
  const auto parsed = std::from_chars(begin, status->data() + status->size(), mask, 8);
  return parsed.ec == std::errc() ? mask : kAll;
}
constexpr std::uint64_t kDirectoryRoom = 4096;  // of one with few names

constexpr std::size_t kPendingBytes = std::size_t{4} << 20U;  // of pending directories

}  // namespace

std::array<struct timespec, 2> Unpacker::TimesOf(const TarEntry& entry) {
  return {entry.atime.value_or(entry.mtime), entry.mtime};
}

Unpacker::Unpacker(FileOps& ops, int root, const UnpackLimits& limits, UnpackRecorder* recorder,
                   SharedFiles* shared)
    : ops_(ops),
      root_(root),
      limits_(limits),
      recorder_(recorder),
      shared_(shared),
      privileged_(::geteuid() == 0),
      own_group_(::getegid()),
      umask_(ReadUmask()),
      tree_(ops, root),
      pending_(limits.pending_directories, kPendingBytes),
      closed_(limits),
      late_links_(limits) {}

UnpackedInodes Unpacker::TakeInodes() {
  inodes_.linked.Seal();
  inodes_.with_xattrs.Seal();
  return std::move(inodes_);
}

Result<UnpackSummary> Unpacker::Run(TarReader& reader) {
  STRATA_TRY(DropInheritedAcls());
  STRATA_TRY(MarkImplied(root_));
  for (;;) {
    STRATA_TRY(FinishExcess());
    STRATA_TRY_ASSIGN(const bool more, reader.Next());
    if (!more) break;
    if (auto done = Handle(reader); !done) {
      return std::unexpected(
          std::move(done).error().WithContext("entry '" + ShownName(reader.entry().path) + "'"));
    }
  }
  STRATA_TRY(MakeLateLinks());
  STRATA_TRY(FinishDirectories());
  return summary_;
}

Result<> Unpacker::CheckLimits(const TarEntry& entry) {
  if (++summary_.entries > limits_.entries) {
    return OverLimit(limits_, "unpack", "entries", limits_.entries, "entries");
  }
  if (entry.uid < 0 || entry.uid > kIdMax || entry.gid < 0 || entry.gid > kIdMax) {
    return Fail(EINVAL, "unpack", "owner out of range");
  }
  name_bytes_ += entry.path.size() + entry.link.size();
  if (name_bytes_ > limits_.name_bytes) {
    return OverLimit(limits_, "unpack", "name-bytes", limits_.name_bytes, "bytes of names");
  }
  STRATA_TRY(CheckXattrs(entry));
  if (entry.type != TarEntry::Type::kFile) return {};
  if (entry.size < 0 ||
      static_cast<std::uint64_t>(entry.size) > limits_.total_bytes - summary_.size) {
    return OverLimit(limits_, "unpack", "total-bytes", limits_.total_bytes, "bytes of files");
  }
  summary_.size += static_cast<std::uint64_t>(entry.size);
  return {};
}

Result<> Unpacker::CheckXattrs(const TarEntry& entry) const {
  if (entry.xattrs.size() > limits_.xattrs) {
    return OverLimit(limits_, "unpack", "xattrs", limits_.xattrs, "extended attributes");
  }
  std::size_t bytes = 0;
  for (const auto& [name, value] : entry.xattrs) bytes += name.size() + value.size();
  if (bytes > limits_.xattr_bytes) {
    return OverLimit(limits_, "unpack", "xattr-bytes", limits_.xattr_bytes,
                     "bytes of extended attributes");
  }
  return {};
}

Result<> Unpacker::Handle(TarReader& reader) {
  const TarEntry& entry = reader.entry();
  STRATA_TRY(CheckLimits(entry));
  STRATA_TRY_ASSIGN(const std::string path, NormalizeEntryPath(entry.path, limits_));
  STRATA_TRY_ASSIGN(const EntryName name, ClassifyEntryName(path));
  switch (name.kind) {
    case EntryName::Kind::kIgnored:
      return {};
    case EntryName::Kind::kOpaque:
      return MakeOpaque(std::string(name.directory));
    case EntryName::Kind::kWhiteout:
      return HideLower(std::string(name.directory), name.target);
    case EntryName::Kind::kOrdinary:
      return HandleOrdinary(reader, path);
  }
  return {};
}

Result<> Unpacker::HandleOrdinary(TarReader& reader, const std::string& path) {
  const TarEntry& entry = reader.entry();
  if (path.empty()) {
    if (entry.type == TarEntry::Type::kDirectory) return SetRootAttributes(entry);
    return Fail(EINVAL, "unpack", "the layer's root is not a directory");
  }
  if (entry.type == TarEntry::Type::kHardLink) return HandleHardLink(entry, path);

  STRATA_TRY_ASSIGN(const int parent, EnterDirectory(std::string(DirName(path))));
  const bool was_late_link = late_links_.Erase(path);  // the last entry of a name wins
  const std::string name(BaseName(path));
  const Place place{parent, name.c_str(), path};
  switch (entry.type) {
    case TarEntry::Type::kFile:
      return MakeFile(reader, place);
    case TarEntry::Type::kDirectory:
      return MakeDirectory(entry, place, was_late_link);
    case TarEntry::Type::kSymlink:
      return MakeSymlink(entry, place);
    default:
      return MakeDevice(entry, place);
  }
}

Result<> Unpacker::Clear(const Place& place) {
  STRATA_TRY_ASSIGN(const struct stat st, ops_.StatAt(place.parent, place.name));
  if (S_ISDIR(st.st_mode)) ForgetDirectory(place.path);
  return RemoveReplaced(place, st);
}

Result<> Unpacker::RemoveReplaced(const Place& place, const struct stat& st) {
  const bool has_content = S_ISDIR(st.st_mode) || (S_ISREG(st.st_mode) && st.st_size > 0);
  if (recorder_ != nullptr && has_content) {
    return recorder_->Replace(place.parent, place.name, place.path);
  }
  if (S_ISDIR(st.st_mode)) return RemoveTree(ops_, place.parent, place.name);
  return ops_.Unlink(place.parent, place.name);
}

Result<bool> Unpacker::ClearWhiteoutFile(const Place& place) {
  if (!whiteouts_as_files_) return false;
  const std::string whiteout = std::string(kWhiteoutPrefix) + place.name;
  if (whiteout.size() > kNameMax) return false;
  auto removed = ops_.Unlink(place.parent, whiteout.c_str());
  if (removed) return true;
  if (removed.error().code() == ENOENT) return false;
  return std::unexpected(std::move(removed).error());
}

Result<> Unpacker::MakeFresh(const Place& place, const std::function<Result<>()>& make) {
  STRATA_TRY(ClearWhiteoutFile(place));
  auto made = make();
  if (made || made.error().code() != EEXIST) return made;
  STRATA_TRY(Clear(place));
  return make();
}

Result<> Unpacker::MakeDirectory(const TarEntry& entry, const Place& place, bool hides_lower) {
  constexpr mode_t kPrivate = 0700;
  STRATA_TRY_ASSIGN(const bool had_whiteout_file, ClearWhiteoutFile(place));
  hides_lower = hides_lower || had_whiteout_file;
  bool existed = false;
  auto made = ops_.MakeDir(place.parent, place.name, kPrivate);
  if (!made && made.error().code() == EEXIST) {
    STRATA_TRY_ASSIGN(const struct stat st, ops_.StatAt(place.parent, place.name));
    existed = S_ISDIR(st.st_mode);
    if (existed) {
      made = {};
    } else {
      STRATA_TRY(Clear(place));
      hides_lower = true;
      made = ops_.MakeDir(place.parent, place.name, kPrivate);
    }
  }
  STRATA_TRY(std::move(made));
  if (!existed) summary_.room += kDirectoryRoom;
  STRATA_TRY(SetOwner(entry, place));
  STRATA_TRY(ops_.ChmodAt(place.parent, place.name, InitialMode(entry)));
  mode_t mode = entry.mode & kPermissionBits;
  if (hides_lower || existed || !entry.xattrs.empty()) {
    STRATA_TRY_ASSIGN(const UniqueFd fd,
                      ops_.Open(place.parent, place.name, O_PATH | O_DIRECTORY | O_NOFOLLOW));
    if (hides_lower) STRATA_TRY(SetOpaque(fd.get()));
    if (existed) {
      STRATA_TRY(HoldDirectory(place.path, fd.get()));
      STRATA_TRY(DropImplied(fd.get()));
    }
    STRATA_TRY(SetXattrs(entry, fd.get()));
    STRATA_TRY_ASSIGN(mode, KeepOpen(entry, fd.get()));
  }
  return EndLater(entry, place.path, mode);
}

Result<> Unpacker::MakeSymlink(const TarEntry& entry, const Place& place) {
  STRATA_TRY(
      MakeFresh(place, [&] { return ops_.SymLink(entry.link.c_str(), place.parent, place.name); }));
  if (!IsMadeWithOwner(entry)) STRATA_TRY(SetOwner(entry, place));
  STRATA_TRY(SetXattrsAt(entry, place, O_PATH | O_NOFOLLOW));
  return ops_.UtimesAt(place.parent, place.name, TimesOf(entry).data(), AT_SYMLINK_NOFOLLOW);
}

Result<> Unpacker::MakeDevice(const TarEntry& entry, const Place& place) {
  constexpr mode_t kPrivate = 0600;
  mode_t type = S_IFIFO;
  if (entry.type == TarEntry::Type::kCharDevice) type = S_IFCHR;
  if (entry.type == TarEntry::Type::kBlockDevice) type = S_IFBLK;
  const dev_t device = type == S_IFIFO ? 0 : ::makedev(entry.device_major, entry.device_minor);
  if (type == S_IFCHR && device == 0) {
    return Fail(EINVAL, "unpack", "character device 0:0 would be a whiteout");
  }
  auto made = MakeFresh(
      place, [&] { return ops_.MakeNode(place.parent, place.name, type | kPrivate, device); });
  if (!made && made.error().code() == EPERM && type != S_IFIFO) {
    ++summary_.skipped_devices;
    log::Warn("unpack: a device can not be made here", {{"entry", entry.path}});
    return {};
  }
  if (!made) return std::unexpected(std::move(made).error());
  STRATA_TRY(SetOwner(entry, place));
  STRATA_TRY(ops_.ChmodAt(place.parent, place.name, entry.mode & kPermissionBits));
  STRATA_TRY(SetXattrsAt(entry, place, O_PATH | O_NOFOLLOW));
  return ops_.UtimesAt(place.parent, place.name, TimesOf(entry).data(), AT_SYMLINK_NOFOLLOW);
}

Result<> Unpacker::MakeMissingDirectory(int parent, const std::string& name,
                                        const std::string& path, int why) {
  // An archive's every path may imply as many directories as it has names.
  if (++implied_directories_ > limits_.entries - summary_.entries) {
    return OverLimit(limits_, "unpack", "entries", limits_.entries,
                     "entries and missing directories");
  }
  if (late_links_.Find(path) != nullptr) {
    return Fail(ENOTDIR, "unpack", "'" + ShownName(path) + "' is not a directory");
  }
  STRATA_TRY(HoldDirectory(std::string(DirName(path)), parent));
  const Place place{parent, name.c_str(), path};
  bool hidden = false;
  if (why == ENOTDIR) {
    STRATA_TRY_ASSIGN(const struct stat st, ops_.StatAt(parent, name.c_str()));
    if (!IsWhiteoutDevice(st)) {
      return Fail(ENOTDIR, "unpack", "'" + ShownName(path) + "' is not a directory");
    }
    STRATA_TRY(ops_.Unlink(parent, name.c_str()));
    hidden = true;
  } else {
    STRATA_TRY_ASSIGN(hidden, ClearWhiteoutFile(place));
  }
  STRATA_TRY(ops_.MakeDir(parent, name.c_str(), kImpliedDirectoryMode));
  summary_.room += kDirectoryRoom;
  // Whatever the umask, and a set-group-id bit of the parent.
  if (privileged_) STRATA_TRY(ops_.ChownAt(parent, name.c_str(), 0, 0, AT_SYMLINK_NOFOLLOW));
  STRATA_TRY(ops_.ChmodAt(parent, name.c_str(), kImpliedDirectoryMode));
  STRATA_TRY_ASSIGN(const UniqueFd fd,
                    ops_.Open(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  return hidden ? SetOpaque(fd.get()) : MarkImplied(fd.get());
}

Result<int> Unpacker::EnterDirectory(const std::string& path) {
  STRATA_TRY_ASSIGN(const int fd, OpenOrMake(path));
  STRATA_TRY(HoldDirectory(path, fd));
  return fd;
}

Result<int> Unpacker::OpenOrMake(const std::string& path) {
  return tree_.OpenOrMake(
      path, [this](int dir, const std::string& name, const std::string& missing, int why) {
        return MakeMissingDirectory(dir, name, missing, why);
      });
}

}  // namespace strata::layerstore
