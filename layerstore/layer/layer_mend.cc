#include "layerstore/layer/layer_mend.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/path.h"
#include "base/remove_tree.h"
#include "base/same_time.h"
#include "base/try.h"
#include "base/unique_fd.h"
#include "layerstore/archive/confined_tree.h"
#include "layerstore/index/metadata_index.h"
#include "layerstore/objects/object_key.h"

namespace strata::layerstore {
namespace {

constexpr mode_t kTakenMode = 0700;
constexpr mode_t kModeBits = 07777;
constexpr int kDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
constexpr int kReadFile = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
constexpr std::size_t kPiece = std::size_t{128} * 1024;
constexpr std::string_view kSelinuxLabel = "security.selinux";  // the host's, not the layer's

using Xattrs = std::map<std::string, std::string>;

bool SameFile(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

bool SameType(const struct stat& a, const struct stat& b) {
  return (a.st_mode & S_IFMT) == (b.st_mode & S_IFMT);
}

Result<std::vector<std::string>> SortedNames(FileOps& ops, int dir) {
  STRATA_TRY_ASSIGN(const UniqueFd own, ops.Open(dir, ".", kDirectory));
  STRATA_TRY_ASSIGN(auto names, NamesIn(ops, own.get()));
  std::ranges::sort(names);
  return names;
}

// The same name in both directories.
struct Pair {
  int fresh;
  int live;
  const char* name;
};

class LayerMend {
 public:
  LayerMend(FileOps& ops, ObjectDirectory& objects, int fresh, int live)
      : ops_(ops), objects_(objects), fresh_dir_(fresh), live_dir_(live) {}

  Result<> Run() {
    STRATA_TRY_ASSIGN(const UniqueFd fresh, ops_.Open(fresh_dir_, "fs", kDirectory));
    STRATA_TRY_ASSIGN(const UniqueFd live, ops_.Open(live_dir_, "fs", kDirectory));
    STRATA_TRY(ops_.MakeDir(fresh_dir_, "taken", kTakenMode));
    STRATA_TRY_ASSIGN(taken_, ops_.Open(fresh_dir_, "taken", kDirectory));
    fresh_.emplace(ops_, fresh.get());
    live_.emplace(ops_, live.get());
    // It tells which inodes were the layer's when it came. Without it nothing is mended in place.
    auto index = MetadataIndex::Open(ops_, live_dir_, "index");
    if (index && (*index)->Verify()) index_ = *std::move(index);
    std::vector<std::string> open(1);
    std::vector<Directory> directories;
    while (!open.empty()) {
      std::string path = std::move(open.back());
      open.pop_back();
      // Before anything is taken out of it.
      STRATA_TRY_ASSIGN(const struct stat wanted, StatDirectory(*fresh_, path));
      STRATA_TRY(MendNamesIn(path, open));
      directories.push_back({std::move(path), wanted});
    }
    // Those further down first: what is done in a directory changes its times.
    std::ranges::reverse(directories);
    for (const Directory& directory : directories) STRATA_TRY(MendDirectory(directory));
    // The layer's own files before what says that they are right.
    STRATA_TRY(ops_.SyncFilesystem(live_dir_));
    for (const char* name : {"replaced", "objects", "recipe"}) STRATA_TRY(TakeOver(name));
    if (renamed_) STRATA_TRY(OutdateIndexes());
    return ops_.Sync(live_dir_);
  }

 private:
  struct Directory {
    std::string path;
    struct stat wanted;
  };

  Result<struct stat> StatDirectory(ConfinedTree& tree, const std::string& path) {
    STRATA_TRY_ASSIGN(const int fd, tree.Open(path));
    return ops_.Stat(fd);
  }

  Result<> MendNamesIn(const std::string& path, std::vector<std::string>& open) {
    STRATA_TRY_ASSIGN(const int fresh, fresh_->Open(path));
    STRATA_TRY_ASSIGN(const int live, live_->Open(path));
    STRATA_TRY_ASSIGN(const auto wanted, SortedNames(ops_, fresh));
    STRATA_TRY_ASSIGN(const auto there, SortedNames(ops_, live));
    indexed_ = FindIndexed(path);
    for (const std::string& name : there) {
      if (!std::ranges::binary_search(wanted, name)) STRATA_TRY(TakeAway(live, name.c_str()));
    }
    for (const std::string& name : wanted) {
      STRATA_TRY(MendName({fresh, live, name.c_str()}, JoinPath(path, name), open));
    }
    return {};
  }

  Result<> MendName(const Pair& pair, std::string path, std::vector<std::string>& open) {
    STRATA_TRY_ASSIGN(const struct stat wanted, ops_.StatAt(pair.fresh, pair.name));
    auto there = ops_.StatAt(pair.live, pair.name);
    if (!there && there.error().code() != ENOENT) return std::unexpected(std::move(there).error());
    if (there && !SameType(wanted, *there)) {
      if (S_ISDIR(there->st_mode)) live_->Forget(path);
      STRATA_TRY(TakeAway(pair.live, pair.name));
      there = Fail(ENOENT, "mend");
    }
    if (S_ISDIR(wanted.st_mode)) {
      if (!there) {
        STRATA_TRY(OutdateIndexesOnce());
        STRATA_TRY(ops_.MakeDir(pair.live, pair.name, kTakenMode));
      }
      open.push_back(std::move(path));
      return {};
    }
    if (there && IsSameGroup(wanted, *there)) {
      STRATA_TRY_ASSIGN(const bool mended, MendInPlace(pair, wanted, *there));
      if (mended) return Note(wanted, *there, std::move(path));
    }
    return Replace(pair, wanted, std::move(path));
  }

  // --- links ------------------------------------------------------------------------------------

  // The file that stands for one of `fresh`, all names of which are to be its.
  struct Group {
    ino_t inode = 0;
    std::string path;  // of its first name
  };

  static bool MayHaveLinks(const struct stat& a, const struct stat& b) {
    return a.st_nlink > 1 || b.st_nlink > 1;
  }

  // Whether the name that is there is one of the file that it has to be a name of.
  bool IsSameGroup(const struct stat& wanted, const struct stat& there) const {
    const auto group = groups_.find(wanted.st_ino);
    if (group != groups_.end()) return group->second.inode == there.st_ino;
    return !in_groups_.contains(there.st_ino);
  }

  Result<> Note(const struct stat& wanted, const struct stat& there, std::string path) {
    if (!MayHaveLinks(wanted, there)) return {};
    groups_.try_emplace(wanted.st_ino, Group{there.st_ino, std::move(path)});
    in_groups_.emplace(there.st_ino, wanted.st_ino);
    return {};
  }

  // --- what is exchanged ------------------------------------------------------------------------

  Result<> TakeAway(int dir, const char* name) {
    STRATA_TRY(OutdateIndexesOnce());
    return ops_.Rename(dir, name, taken_.get(), NextTaken().c_str(), RENAME_NOREPLACE);
  }

  std::string NextTaken() { return std::to_string(taken_count_++); }

  // Puts a file in place, over whatever is no directory.
  Result<> Replace(const Pair& pair, const struct stat& wanted, std::string path) {
    STRATA_TRY(OutdateIndexesOnce());
    const auto group = groups_.find(wanted.st_ino);
    if (group == groups_.end()) {
      STRATA_TRY(ops_.Rename(pair.fresh, pair.name, pair.live, pair.name));
      return Note(wanted, wanted, std::move(path));
    }
    constexpr std::uint64_t kResolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
    STRATA_TRY_ASSIGN(const UniqueFd root, ops_.Open(live_dir_, "fs", kDirectory));
    STRATA_TRY_ASSIGN(const UniqueFd first,
                      ops_.OpenConfined(root.get(), group->second.path.c_str(), O_PATH | O_NOFOLLOW,
                                        0, kResolve));
    const std::string scratch = NextTaken();
    STRATA_TRY(ops_.Link(AT_FDCWD, ProcFdPath(first.get()).c_str(), taken_.get(), scratch.c_str(),
                         AT_SYMLINK_FOLLOW));
    return ops_.Rename(taken_.get(), scratch.c_str(), pair.live, pair.name);
  }

  // A file beside the tree.
  Result<> TakeOver(const char* name) {
    const auto wanted = ops_.StatAt(fresh_dir_, name);
    const auto there = ops_.StatAt(live_dir_, name);
    for (const auto* each : {&wanted, &there}) {
      if (!*each && each->error().code() != ENOENT) return Fail(each->error().code(), "mend", name);
    }
    if (!wanted && !there) return {};
    if (!wanted) {
      return ops_.Rename(live_dir_, name, taken_.get(), NextTaken().c_str(), RENAME_NOREPLACE);
    }
    return ops_.Rename(fresh_dir_, name, live_dir_, name, there ? RENAME_EXCHANGE : 0U);
  }

  // Indexes know files by their inodes, and a layer by its root's ctime (LayerProof).
  Result<> OutdateIndexes() {
    STRATA_TRY(RemoveTree(ops_, live_dir_, "index"));  // whatever has come to be there
    STRATA_TRY_ASSIGN(const struct stat root, ops_.StatAt(live_dir_, "fs"));
    return ops_.ChmodAt(live_dir_, "fs", root.st_mode & kModeBits);
  }

  // Before the first: one that is made meanwhile is outdated in the end.
  Result<> OutdateIndexesOnce() {
    if (std::exchange(renamed_, true)) return {};
    return OutdateIndexes();
  }

  // --- what is mended in place ------------------------------------------------------------------

  std::optional<MetadataIndex::Directory> FindIndexed(const std::string& path) const {
    if (!index_) return std::nullopt;
    const auto directory = index_->FindDirectory(path);
    return directory ? *directory : std::nullopt;
  }

  // Whether what is there is the file that came, whatever has become of it: its inode is the one
  // that the name had then. An index that was made again later may have taken another file for it,
  // but then knows that file's attributes.
  bool IsTheOneThatCame(const char* name, const struct stat& wanted,
                        const struct stat& there) const {
    if (!indexed_) return false;
    const auto number = index_->Find(*indexed_, name);
    if (!number || !*number) return false;
    const auto entry = index_->At(**number);
    if (!entry || entry->attr.st_ino != there.st_ino) return false;
    const struct stat& came = entry->attr;
    return came.st_mode == wanted.st_mode && came.st_uid == wanted.st_uid &&
           came.st_gid == wanted.st_gid && came.st_size == wanted.st_size &&
           came.st_rdev == wanted.st_rdev && SameTime(came.st_mtim, wanted.st_mtim);
  }

  // False, and no worse than before: not that file.
  Result<bool> MendInPlace(const Pair& pair, const struct stat& wanted, const struct stat& there) {
    if (SameFile(wanted, there)) return true;  // found among the objects, all of it compared
    if (!IsTheOneThatCame(pair.name, wanted, there)) return false;
    bool written = false;
    if (S_ISREG(wanted.st_mode)) {
      STRATA_TRY_ASSIGN(const bool another, IsAnother(pair, wanted, there));
      if (another) return false;
      auto mended = MendContent(pair, wanted, there);
      // Guarded (EPERM), running (ETXTBSY), or the disk takes it no more: it gets another file.
      if (!mended) return false;
      written = *mended;
    } else if (S_ISLNK(wanted.st_mode)) {
      STRATA_TRY_ASSIGN(const std::string target, ops_.ReadLink(pair.fresh, pair.name));
      STRATA_TRY_ASSIGN(const std::string now, ops_.ReadLink(pair.live, pair.name));
      if (target != now) return false;
    } else if (wanted.st_rdev != there.st_rdev) {
      return false;
    }
    STRATA_TRY(MendAttributes(pair, wanted, there, written));
    if (S_ISREG(wanted.st_mode)) STRATA_TRY(TakeObjectName(pair, wanted));
    return true;
  }

  // Whether anything had to be written.
  Result<bool> MendContent(const Pair& pair, const struct stat& wanted, const struct stat& there) {
    STRATA_TRY_ASSIGN(const UniqueFd from, ops_.Open(pair.fresh, pair.name, kReadFile));
    STRATA_TRY_ASSIGN(const UniqueFd now, ops_.Open(pair.live, pair.name, kReadFile));
    UniqueFd to;
    const auto open = [&]() -> Result<> {
      if (to) return {};
      STRATA_TRY_ASSIGN(to, ops_.Open(pair.live, pair.name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK));
      return {};
    };
    good_.resize(kPiece);
    bad_.resize(kPiece);
    for (off_t offset = 0;;) {
      STRATA_TRY_ASSIGN(const std::size_t got, ops_.ReadAt(from.get(), good_, offset));
      if (got == 0) break;
      const auto good = std::span(good_).first(got);
      if (!HasBytes(now.get(), good, offset)) {
        STRATA_TRY(open());
        STRATA_TRY(WriteAllAt(ops_, to.get(), good, offset));
      }
      offset += static_cast<off_t>(got);
    }
    if (there.st_size > wanted.st_size) {
      STRATA_TRY(open());
      STRATA_TRY(ops_.Truncate(to.get(), wanted.st_size));
    }
    return static_cast<bool>(to);
  }

  // What can not be read is other than it should be, too.
  bool HasBytes(int file, std::span<const std::byte> bytes, off_t offset) {
    while (!bytes.empty()) {
      const auto got = ops_.ReadAt(file, std::span(bad_).first(bytes.size()), offset);
      if (!got || *got == 0 || std::memcmp(bad_.data(), bytes.data(), *got) != 0) return false;
      bytes = bytes.subspan(*got);
      offset += static_cast<off_t>(*got);
    }
    return true;
  }

  Result<> MendDirectory(const Directory& directory) {
    Pair pair{fresh_dir_, live_dir_, "fs"};
    const std::string name(BaseName(directory.path));
    if (!directory.path.empty()) {
      const std::string above(DirName(directory.path));
      STRATA_TRY_ASSIGN(pair.fresh, fresh_->Open(above));
      STRATA_TRY_ASSIGN(pair.live, live_->Open(above));
      pair.name = name.c_str();
    }
    STRATA_TRY_ASSIGN(const struct stat there, ops_.StatAt(pair.live, pair.name));
    return MendAttributes(pair, directory.wanted, there, false);
  }

  // The order matters: chown(2) clears set-id bits and capabilities, everything changes times.
  Result<> MendAttributes(const Pair& pair, const struct stat& wanted, const struct stat& there,
                          bool written) {
    const bool owner = wanted.st_uid != there.st_uid || wanted.st_gid != there.st_gid;
    if (owner) {
      STRATA_TRY(
          ops_.ChownAt(pair.live, pair.name, wanted.st_uid, wanted.st_gid, AT_SYMLINK_NOFOLLOW));
    }
    const bool mode =
        !S_ISLNK(wanted.st_mode) && (owner || written || wanted.st_mode != there.st_mode);
    STRATA_TRY_ASSIGN(const bool xattrs, MendXattrs(pair));
    // After them: an ACL is part of the mode.
    if (mode || (xattrs && !S_ISLNK(wanted.st_mode))) {
      STRATA_TRY(ops_.ChmodAt(pair.live, pair.name, wanted.st_mode & kModeBits));
    }
    if (!written && SameTime(wanted.st_mtim, there.st_mtim)) return {};
    const std::array<struct timespec, 2> times = {wanted.st_atim, wanted.st_mtim};
    return ops_.UtimesAt(pair.live, pair.name, times.data(), AT_SYMLINK_NOFOLLOW);
  }

  Result<Xattrs> XattrsOf(int dir, const char* name) {
    Xattrs xattrs;
    auto names = ops_.ListXattrAt(dir, name);
    if (!names && names.error().code() == EOPNOTSUPP) return xattrs;
    if (!names) return std::unexpected(std::move(names).error());
    for (std::string& each : *names) {
      if (each == kSelinuxLabel) continue;
      STRATA_TRY_ASSIGN(xattrs[each], ops_.GetXattrAt(dir, name, each.c_str()));
    }
    return xattrs;
  }

  // Whether there was anything to do.
  Result<bool> MendXattrs(const Pair& pair) {
    STRATA_TRY_ASSIGN(const Xattrs wanted, XattrsOf(pair.fresh, pair.name));
    STRATA_TRY_ASSIGN(const Xattrs there, XattrsOf(pair.live, pair.name));
    if (wanted == there) return false;
    STRATA_TRY_ASSIGN(const UniqueFd fd, ops_.Open(pair.live, pair.name, O_PATH | O_NOFOLLOW));
    for (const auto& [name, value] : there) {
      if (!wanted.contains(name)) STRATA_TRY(ops_.RemoveXattr(fd.get(), name.c_str()));
    }
    for (const auto& [name, value] : wanted) {
      const auto now = there.find(name);
      if (now != there.end() && now->second == value) continue;
      STRATA_TRY(ops_.SetXattr(fd.get(), name.c_str(), value));
    }
    return true;
  }

  // Of a file as it is now; nothing if it can not be read.
  std::optional<ObjectKey> KeyOf(int dir, const char* name, const struct stat& st) {
    const auto file = ops_.Open(dir, name, kReadFile);
    if (!file) return std::nullopt;
    std::string start(std::min(static_cast<std::size_t>(st.st_size), ObjectKey::kStartBytes), '\0');
    for (std::size_t done = 0; done < start.size();) {
      const auto rest = std::as_writable_bytes(std::span(start)).subspan(done);
      const auto got = ops_.ReadAt(file->get(), rest, static_cast<off_t>(done));
      if (!got || *got == 0) return std::nullopt;
      done += *got;
    }
    return ObjectKey::Of(TraitsOf(st), start);
  }

  static ObjectTraits TraitsOf(const struct stat& st) {
    return {static_cast<std::uint64_t>(st.st_size), st.st_mode & kModeBits, st.st_uid, st.st_gid,
            st.st_mtim};
  }

  // Under which of the keys of its kind the file is an object.
  Result<std::optional<ObjectKey>> ObjectNameOf(ObjectKey key, const struct stat& file) {
    const ObjectTraits traits = TraitsOf(file);
    for (int twin = 0; twin < ObjectKey::kTwinsMax; ++twin, key = key.Next()) {
      STRATA_TRY_ASSIGN(const auto object, objects_.Find(key, traits));
      if (!object.fd) continue;
      STRATA_TRY_ASSIGN(const struct stat st, ops_.Stat(object.fd.get()));
      if (SameFile(st, file)) return std::optional(key);
    }
    return std::optional<ObjectKey>();
  }

  // Whether what is there is not that file, damaged, but another one in its place, which the store
  // knows and other layers may have.
  Result<bool> IsAnother(const Pair& pair, const struct stat& wanted, const struct stat& there) {
    if (there.st_nlink < 2 || there.st_size == 0) return false;
    const auto key = KeyOf(pair.live, pair.name, there);
    if (!key || key == KeyOf(pair.fresh, pair.name, wanted)) return false;
    STRATA_TRY_ASSIGN(const auto name, ObjectNameOf(*key, there));
    return name.has_value();
  }

  // The fresh file, which goes, may have become an object; the one that stays takes its name.
  Result<> TakeObjectName(const Pair& pair, const struct stat& wanted) {
    if (wanted.st_nlink < 2 || wanted.st_size == 0) return {};
    const auto key = KeyOf(pair.fresh, pair.name, wanted);
    if (!key) return Fail(EIO, "mend", "a fresh file can not be read");
    STRATA_TRY_ASSIGN(const auto name, ObjectNameOf(*key, wanted));
    if (!name) return {};
    // False: it can have no more names, and is no object then.
    STRATA_TRY(objects_.Replace(pair.live, pair.name, taken_.get(), *name));
    return {};
  }

  FileOps& ops_;
  ObjectDirectory& objects_;
  const int fresh_dir_;
  const int live_dir_;
  std::optional<ConfinedTree> fresh_;
  std::optional<ConfinedTree> live_;
  std::shared_ptr<const MetadataIndex> index_;       // of `live`, if it has a good one
  std::optional<MetadataIndex::Directory> indexed_;  // where it has the directory at hand
  UniqueFd taken_;  // in fresh_dir_: what was in the layer and does not belong there
  std::uint64_t taken_count_ = 0;
  bool renamed_ = false;
  std::unordered_map<ino_t, Group> groups_;     // by inode of `fresh`
  std::unordered_map<ino_t, ino_t> in_groups_;  // inodes of `live` that stand for some of `fresh`
  std::vector<std::byte> good_;
  std::vector<std::byte> bad_;
};

}  // namespace

Result<> MendLayer(FileOps& ops, ObjectDirectory& objects, int fresh, int live) {
  return LayerMend(ops, objects, fresh, live).Run();
}

}  // namespace strata::layerstore
