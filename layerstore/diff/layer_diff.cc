#include "layerstore/diff/layer_diff.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/path.h"
#include "base/try.h"
#include "layerstore/archive/entry_path.h"
#include "layerstore/archive/tar_writer.h"
#include "layerstore/archive/unpack_options.h"
#include "layerstore/archive/xattr_policy.h"
#include "layerstore/index/marks.h"

namespace strata::layerstore {
namespace {

constexpr std::size_t kPiece = std::size_t{256} * 1024;
constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;

TarEntry::Type TypeOf(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return TarEntry::Type::kDirectory;
    case S_IFLNK:
      return TarEntry::Type::kSymlink;
    case S_IFCHR:
      return TarEntry::Type::kCharDevice;
    case S_IFBLK:
      return TarEntry::Type::kBlockDevice;
    case S_IFIFO:
      return TarEntry::Type::kFifo;
    default:
      return TarEntry::Type::kFile;
  }
}

class Diff {
 public:
  // Without a sink the paths are collected, and no content is read.
  Diff(FileOps& ops, const UpperLayer& upper, const TarWriter::Sink& sink)
      : ops_(ops),
        upper_(upper),
        marks_(upper.user_marks),
        contents_(sink != nullptr),
        tar_(sink),
        buffer_(contents_ ? kPiece : 0) {}

  Result<DiffSummary> Run() {
    STRATA_TRY_ASSIGN(const Marked root, AddRoot(upper_.directory, true));
    STRATA_TRY(WalkUpper(upper_.directory, "", 0, root.opaque));
    STRATA_TRY(AddLowerLinks());
    if (contents_) STRATA_TRY(tar_.Finish());
    return summary_;
  }

  // Not of an upper directory, but of a union.
  Result<DiffSummary> RunUnion(int root) {
    STRATA_TRY(AddRoot(root, false));
    STRATA_TRY(WalkUnion(root, "", 0));
    STRATA_TRY(tar_.Finish());
    return summary_;
  }

  std::vector<std::string> TakePaths() { return std::move(paths_); }

 private:
  // What the xattrs of a file in the upper directory say.
  struct Marked {
    std::vector<std::pair<std::string, std::string>> xattrs;  // those for users
    bool opaque = false;
    bool redirected = false;
    bool borrows = false;  // has not all of its data
  };
  // As the union numbers it.
  struct Inode {
    dev_t device;
    ino_t number;
    auto operator<=>(const Inode&) const = default;
  };
  // Where an entry is: in the upper directory, or in the union.
  struct Place {
    int dir;
    const std::string& name;
    const std::string& path;
    bool in_upper;
  };

  static TarEntry EntryOf(std::string path, const struct stat& st) {
    TarEntry entry;
    entry.path = std::move(path);
    entry.type = TypeOf(st.st_mode);
    entry.mode = st.st_mode & 07777;
    entry.uid = st.st_uid;
    entry.gid = st.st_gid;
    entry.mtime = st.st_mtim;
    entry.device_major = ::major(st.st_rdev);
    entry.device_minor = ::minor(st.st_rdev);
    return entry;
  }

  Result<> Add(const TarEntry& entry) {
    ++summary_.entries;
    if (contents_) return tar_.Add(entry);
    paths_.push_back(entry.path);
    return {};
  }

  Result<Marked> AddRoot(int dir, bool in_upper) {
    STRATA_TRY_ASSIGN(const struct stat st, ops_.Stat(dir));
    STRATA_TRY_ASSIGN(Marked root, ReadMarks(dir, ".", in_upper));
    TarEntry entry = EntryOf("./", st);
    entry.xattrs = root.xattrs;
    STRATA_TRY(Add(entry));
    return root;
  }

  Result<> AddMarker(const std::string& path) {
    TarEntry entry;
    entry.path = path;
    return Add(entry);
  }

  Result<Marked> ReadMarks(int dir, const std::string& name, bool in_upper) {
    Marked marked;
    auto listed = ops_.ListXattrAt(dir, name.c_str());
    if (!listed) {
      if (listed.error().code() == EOPNOTSUPP) return marked;
      return std::unexpected(std::move(listed).error());
    }
    for (const std::string& stored : *listed) {
      if (in_upper && marks_.IsPrivate(stored) && !marks_.IsEscaped(stored)) {
        if (stored == marks_.Opaque()) {
          STRATA_TRY_ASSIGN(const std::string value,
                            ops_.GetXattrAt(dir, name.c_str(), stored.c_str()));
          marked.opaque = value == "y";
        }
        marked.redirected = marked.redirected || stored == marks_.Redirect();
        marked.borrows = marked.borrows || stored == marks_.Metacopy();
        continue;
      }
      const bool escaped = in_upper && marks_.IsEscaped(stored);
      std::string shown = escaped ? marks_.Unescape(stored) : stored;
      if (!XattrNameOnDisk(shown)) continue;
      STRATA_TRY_ASSIGN(std::string value, ops_.GetXattrAt(dir, name.c_str(), stored.c_str()));
      marked.xattrs.emplace_back(std::move(shown), std::move(value));
    }
    // It wins, as in kernel overlayfs.
    if (marked.opaque) marked.redirected = false;
    return marked;
  }

  Result<std::vector<std::string>> SortedNames(int dir) {
    STRATA_TRY_ASSIGN(std::vector<std::string> names, NamesIn(ops_, dir));
    std::ranges::sort(names);
    return names;
  }

  // Whoever runs on the container goes on: a name that is listed may be gone when it is looked at,
  // and then it is as if it had never been. Nothing was written of it (AddFile).
  bool IsGone(const Error& error, int dir, const std::string& name) {
    if (error.code() != ENOENT) return false;
    const auto st = ops_.StatAt(dir, name.c_str());
    return !st && st.error().code() == ENOENT;
  }

  Result<> CheckDepth(std::size_t depth) const {
    const std::size_t most = UnpackLimits().path_depth;
    if (depth < most) return {};
    return Fail(E2BIG, "diff", "more than " + std::to_string(most) + " directories deep");
  }

  // `hides`: everything the layers below have in it.
  Result<> WalkUpper(int dir, const std::string& path, std::size_t depth, bool hides) {
    STRATA_TRY(CheckDepth(depth));
    STRATA_TRY_ASSIGN(const std::vector<std::string> names, SortedNames(dir));
    const std::set<std::string_view> all(names.begin(), names.end());
    if (hides || all.contains(kOpaqueMarker)) {
      STRATA_TRY(AddMarker(JoinPath(path, kOpaqueMarker)));
    }
    for (const std::string& name : names) {
      const std::string child = JoinPath(path, name);
      auto done = AddUpper(dir, name, child, depth, all);
      if (!done && !IsGone(done.error(), dir, name)) return Named(std::move(done).error(), child);
    }
    return {};
  }

  Result<> AddUpper(int dir, const std::string& name, const std::string& path, std::size_t depth,
                    const std::set<std::string_view>& siblings) {
    if (name.starts_with(kReservedPrefix)) return {};
    if (name.starts_with(kWhiteoutPrefix)) {
      // Beside an entry of the name it hides, that hides it itself; or is told it, if a directory.
      return siblings.contains(name.substr(kWhiteoutPrefix.size())) ? Result<>() : AddMarker(path);
    }
    STRATA_TRY_ASSIGN(const struct stat st, ops_.StatAt(dir, name.c_str()));
    if (IsWhiteoutDevice(st)) {
      return AddMarker(JoinPath(DirName(path), std::string(kWhiteoutPrefix) + name));
    }
    STRATA_TRY_ASSIGN(const Marked marked, ReadMarks(dir, name, true));
    const Place place{dir, name, path, true};
    if (!S_ISDIR(st.st_mode)) return AddFile(place, st, marked);

    STRATA_TRY(AddDirectory(path, st, marked));
    const bool beside = siblings.contains(std::string(kWhiteoutPrefix) + name);
    if (marked.redirected) {
      // What it had elsewhere in the layers below is here now, and nothing else.
      STRATA_TRY(AddMarker(JoinPath(path, kOpaqueMarker)));
      STRATA_TRY_ASSIGN(const UniqueFd merged, OpenInUnion(path, kDirectoryFlags));
      moved_.push_back(path + "/");
      return WalkUnion(merged.get(), path, depth + 1);
    }
    STRATA_TRY_ASSIGN(const UniqueFd child, ops_.Open(dir, name.c_str(), kDirectoryFlags));
    return WalkUpper(child.get(), path, depth + 1, marked.opaque || beside);
  }

  Result<> WalkUnion(int dir, const std::string& path, std::size_t depth) {
    STRATA_TRY(CheckDepth(depth));
    STRATA_TRY_ASSIGN(const std::vector<std::string> names, SortedNames(dir));
    for (const std::string& name : names) {
      const std::string child = JoinPath(path, name);
      auto done = AddFromUnion(dir, name, child, depth);
      if (!done && !IsGone(done.error(), dir, name)) return Named(std::move(done).error(), child);
    }
    return {};
  }

  Result<> AddFromUnion(int dir, const std::string& name, const std::string& path,
                        std::size_t depth) {
    STRATA_TRY_ASSIGN(const struct stat st, ops_.StatAt(dir, name.c_str()));
    STRATA_TRY_ASSIGN(const Marked marked, ReadMarks(dir, name, false));
    if (!S_ISDIR(st.st_mode)) return AddFile({dir, name, path, false}, st, marked);
    STRATA_TRY(AddDirectory(path, st, marked));
    STRATA_TRY_ASSIGN(const UniqueFd child, ops_.Open(dir, name.c_str(), kDirectoryFlags));
    return WalkUnion(child.get(), path, depth + 1);
  }

  Result<> AddDirectory(const std::string& path, const struct stat& st, const Marked& marked) {
    TarEntry entry = EntryOf(path, st);
    entry.xattrs = marked.xattrs;
    return Add(entry);
  }

  Result<> AddFile(const Place& place, const struct stat& st, const Marked& marked) {
    if (S_ISSOCK(st.st_mode)) {
      ++summary_.sockets;
      return {};
    }
    TarEntry entry = EntryOf(place.path, st);
    // First of all: from here on the file can not go away.
    UniqueFd content;
    if (S_ISREG(st.st_mode) && st.st_size > 0 && contents_) {
      STRATA_TRY_ASSIGN(content, OpenContent(place, marked.borrows));
    }
    if (st.st_nlink > 1) {
      STRATA_TRY_ASSIGN(const Inode inode, InodeOf(place, st));
      const auto [first, added] = first_names_.try_emplace(inode, place.path);
      if (!added) {
        entry.type = TarEntry::Type::kHardLink;
        entry.link = first->second;
        return Add(entry);
      }
    }
    entry.xattrs = marked.xattrs;
    if (S_ISLNK(st.st_mode)) {
      STRATA_TRY_ASSIGN(entry.link, ops_.ReadLink(place.dir, place.name.c_str()));
    }
    if (!S_ISREG(st.st_mode)) return Add(entry);
    entry.size = st.st_size;
    STRATA_TRY(Add(entry));
    return content ? AddContent(content.get(), entry.size) : Result<>();
  }

  Result<UniqueFd> OpenContent(const Place& place, bool borrows) {
    constexpr int kFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
    if (borrows) return OpenInUnion(place.path, kFlags);
    return ops_.Open(place.dir, place.name.c_str(), kFlags);
  }

  Result<> AddContent(int file, std::int64_t size) {
    std::int64_t left = size;
    while (left > 0) {
      const auto piece = std::span(buffer_).first(static_cast<std::size_t>(
          std::min<std::int64_t>(left, static_cast<std::int64_t>(kPiece))));
      STRATA_TRY_ASSIGN(const std::size_t got, ops_.Read(file, std::as_writable_bytes(piece)));
      if (got == 0) return Fail(EIO, "diff", "it became shorter while it was read");
      STRATA_TRY(tar_.Write({piece.data(), got}));
      left -= static_cast<std::int64_t>(got);
    }
    summary_.size += static_cast<std::uint64_t>(size);
    return {};
  }

  Result<> AddLowerLinks() {
    std::vector<std::string> paths = upper_.lower_links;
    std::ranges::sort(paths);
    for (const std::string& path : paths) {
      const auto is_above = [&](const std::string& moved) { return path.starts_with(moved); };
      if (std::ranges::any_of(moved_, is_above)) continue;  // came with its directory
      auto done = AddLowerLink(path);
      if (!done) return Named(std::move(done).error(), path);
    }
    return {};
  }

  Result<> AddLowerLink(const std::string& path) {
    const std::string above(DirName(path));
    STRATA_TRY(AddLowerDirectories(above));
    STRATA_TRY_ASSIGN(const UniqueFd dir, OpenInUnion(above, kDirectoryFlags));
    const std::string name(BaseName(path));
    STRATA_TRY_ASSIGN(const struct stat st, ops_.StatAt(dir.get(), name.c_str()));
    STRATA_TRY_ASSIGN(const Marked marked, ReadMarks(dir.get(), name, false));
    return AddFile({dir.get(), name, path, false}, st, marked);
  }

  // What is not in the upper layer, and so not in the tar yet, down to `path`.
  Result<> AddLowerDirectories(const std::string& path) {
    if (path.empty() || !lower_directories_.insert(path).second) return {};
    const std::string above(DirName(path));
    STRATA_TRY(AddLowerDirectories(above));
    auto upper =
        ops_.OpenConfined(upper_.directory, path.c_str(), O_PATH | O_DIRECTORY, 0, kResolve);
    if (upper) return {};
    if (upper.error().code() != ENOENT) return std::unexpected(std::move(upper).error());
    STRATA_TRY_ASSIGN(const UniqueFd dir, OpenInUnion(path, kDirectoryFlags));
    STRATA_TRY_ASSIGN(const struct stat st, ops_.Stat(dir.get()));
    STRATA_TRY_ASSIGN(const Marked marked, ReadMarks(dir.get(), ".", false));
    return AddDirectory(path, st, marked);
  }

  Result<UniqueFd> OpenInUnion(const std::string& path, int flags) {
    if (!union_root_) {
      STRATA_TRY_ASSIGN(union_root_, upper_.open_union());
    }
    return ops_.OpenConfined(union_root_.get(), path.empty() ? "." : path.c_str(), flags, 0,
                             kResolve);
  }

  // Names of one file may be on both sides; the union numbers them alike.
  Result<Inode> InodeOf(const Place& place, const struct stat& st) {
    if (!place.in_upper) return Inode{st.st_dev, st.st_ino};
    STRATA_TRY_ASSIGN(const UniqueFd file, OpenInUnion(place.path, O_PATH | O_NOFOLLOW));
    STRATA_TRY_ASSIGN(const struct stat shown, ops_.Stat(file.get()));
    return Inode{shown.st_dev, shown.st_ino};
  }

  // The innermost path is the one that was at fault.
  std::unexpected<Error> Named(Error error, const std::string& path) {
    if (std::exchange(named_, true)) return std::unexpected(std::move(error));
    return std::unexpected(std::move(error).WithContext(ShownName(path)));
  }

  static constexpr std::uint64_t kResolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;

  FileOps& ops_;
  const UpperLayer& upper_;
  const OverlayXattrs marks_;
  const bool contents_;
  TarWriter tar_;
  std::vector<std::string> paths_;  // without contents
  std::vector<char> buffer_;
  UniqueFd union_root_;
  std::map<Inode, std::string> first_names_;  // of files with several
  std::vector<std::string> moved_;            // directories that were renamed, with a slash
  std::set<std::string> lower_directories_;   // looked at
  bool named_ = false;
  DiffSummary summary_;
};

}  // namespace

Result<DiffSummary> WriteLayerDiff(FileOps& ops, const UpperLayer& upper,
                                   const std::function<Result<>(std::string_view)>& sink) {
  return Diff(ops, upper, sink).Run();
}

Result<std::vector<std::string>> ListLayerDiff(FileOps& ops, const UpperLayer& upper) {
  Diff diff(ops, upper, nullptr);
  STRATA_TRY(diff.Run());
  return diff.TakePaths();
}

Result<DiffSummary> WriteUnion(FileOps& ops, int root,
                               const std::function<Result<>(std::string_view)>& sink) {
  const UpperLayer none;
  return Diff(ops, none, sink).RunUnion(root);
}

}  // namespace strata::layerstore
