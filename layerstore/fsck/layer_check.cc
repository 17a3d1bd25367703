#include "layerstore/fsck/layer_check.h"

#include <dirent.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/path.h"
#include "base/same_time.h"
#include "base/try.h"
#include "base/verity.h"
#include "layerstore/archive/confined_tree.h"
#include "layerstore/archive/entry_path.h"
#include "layerstore/archive/posix_acl.h"
#include "layerstore/archive/tar_reader.h"
#include "layerstore/archive/xattr_policy.h"
#include "layerstore/fsck/expected_names.h"
#include "layerstore/index/marks.h"
#include "layerstore/layer/verity_guard.h"
#include "layerstore/objects/object_list.h"
#include "layerstore/oci/timestamp.h"
#include "layerstore/recipe/layer_tar.h"
#include "layerstore/recipe/recipe_reader.h"

namespace strata::layerstore {
namespace {

constexpr mode_t kPermissionBits = 07777;
constexpr mode_t kGroupBits = 070;
// What every filesystem keeps as it is; beyond, some clamp.
constexpr std::int64_t kTimeMin = -(std::int64_t{1} << 31U);
constexpr std::int64_t kTimeMax = (std::int64_t{1} << 31U) * 7;
constexpr std::array<std::string_view, 5> kOfALayer = {"fs", "index", "objects", "recipe",
                                                       "replaced"};

std::string Octal(mode_t mode) {
  std::array<char, 16> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), mode, 8).ptr;
  return "0" + std::string(digits.data(), end);
}

std::string Expected(const std::string& is, const std::string& expected) {
  return is + ", expected " + expected;
}

const char* TypeName(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return "a file";
    case S_IFDIR:
      return "a directory";
    case S_IFLNK:
      return "a symbolic link";
    case S_IFCHR:
      return "a character device";
    case S_IFBLK:
      return "a block device";
    case S_IFIFO:
      return "a fifo";
    default:
      return "a socket";
  }
}

mode_t TypeOf(TarEntry::Type type) {
  switch (type) {
    case TarEntry::Type::kDirectory:
      return S_IFDIR;
    case TarEntry::Type::kSymlink:
      return S_IFLNK;
    case TarEntry::Type::kCharDevice:
      return S_IFCHR;
    case TarEntry::Type::kBlockDevice:
      return S_IFBLK;
    case TarEntry::Type::kFifo:
      return S_IFIFO;
    default:
      return S_IFREG;
  }
}

// The tar with zeros for contents, in pieces as a reader wants them.
class HeaderSource {
 public:
  explicit HeaderSource(RecipeReader& recipe) : recipe_(recipe), zero_(kZeroBytes) {}

  Result<std::string_view> Next() {
    while (zeros_ == 0) {
      STRATA_TRY_ASSIGN(const bool more, recipe_.Next());
      if (!more) return std::string_view();
      const RecipeRecord& record = recipe_.record();
      if (record.kind == RecipeRecord::Kind::kLiteral) return record.literal;
      for (const auto& extent : record.extents) zeros_ += extent.length;
    }
    const std::size_t count = std::min<std::uint64_t>(zeros_, kZeroBytes);
    zeros_ -= count;
    return std::string_view(zero_.data(), count);
  }

 private:
  static constexpr std::size_t kZeroBytes = std::size_t{64} * 1024;
  RecipeReader& recipe_;
  std::vector<char> zero_;
  std::uint64_t zeros_ = 0;
};

class LayerCheck {
 public:
  LayerCheck(FileOps& ops, int layer_dir, const Digest& diff_id, const LayerCheckOptions& options,
             const FindingSink& found)
      : ops_(ops), dir_(layer_dir), diff_id_(diff_id), options_(options), found_(found) {}

  Result<> Run() {
    STRATA_TRY(CheckSurroundings());
    auto fs = ops_.Open(dir_, "fs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!fs) {
      if (IsOurs(fs.error().code())) return std::unexpected(std::move(fs).error());
      Find(FindingKind::kMissingLayer, "", fs.error().ToString());
      return {};
    }
    fs_ = std::move(*fs);
    tree_.emplace(ops_, fs_.get());
    auto objects = ForEachObject(ops_, dir_, [](const ObjectKey&) -> Result<> { return {}; });
    if (!objects) {
      if (IsOurs(objects.error().code())) return objects;
      Find(FindingKind::kBadObjectList, "", objects.error().ToString());
    }

    STRATA_TRY_ASSIGN(guarded_, IsGuarded(dir_));
    auto recipe = RecipeReader::Open(ops_, dir_);
    if (!recipe) {
      if (IsOurs(recipe.error().code())) return std::unexpected(std::move(recipe).error());
      const bool none = recipe.error().code() == ENOENT;
      Find(none && !options_.needs_recipe ? FindingKind::kNoRecipe : FindingKind::kBadRecipe, "",
           none ? "it has none" : recipe.error().ToString());
      return {};
    }
    if ((*recipe)->diff_id() != diff_id_) {
      Find(FindingKind::kBadRecipe, "", "it is that of " + (*recipe)->diff_id().ToString());
      return {};
    }
    auto checked = CheckAgainstRecipe(**recipe);
    if (checked || IsOurs(checked.error().code()) || paced_out_) return checked;
    // Its checksum was right, so whoever wrote it was wrong.
    Find(FindingKind::kBadRecipe, "", checked.error().ToString());
    return {};
  }

 private:
  using Each = std::function<Result<>(const TarEntry&, const std::string& path, const EntryName&)>;

  void Find(FindingKind kind, const std::string& path, std::string detail) {
    found_({kind, diff_id_, std::nullopt, path, std::move(detail)});
  }

  Result<> CheckSurroundings() {
    auto names = NamesIn(ops_, dir_);
    if (!names) {
      if (IsOurs(names.error().code())) return std::unexpected(std::move(names).error());
      Find(FindingKind::kUnreadable, "", names.error().ToString());
      return {};
    }
    for (const std::string& name : *names) {
      if (std::ranges::find(kOfALayer, name) == kOfALayer.end()) {
        Find(FindingKind::kStray, name, "beside the layer's own files");
      }
    }
    return {};
  }

  Result<> CheckAgainstRecipe(RecipeReader& recipe) {
    STRATA_TRY(
        ForEachEntry(recipe, [&](const TarEntry& entry, const std::string& path,
                                 const EntryName& name) { return AddName(entry, path, name); }));
    names_.Finish();
    STRATA_TRY(CheckBareRoot());
    STRATA_TRY(CheckExtra());
    STRATA_TRY(recipe.Rewind());
    std::uint32_t ordinal = 0;
    STRATA_TRY(ForEachEntry(
        recipe,
        [&](const TarEntry& entry, const std::string& path, const EntryName& name) -> Result<> {
          switch (name.kind) {
            case EntryName::Kind::kOrdinary:
              return CheckEntry(entry, path, ++ordinal);
            case EntryName::Kind::kWhiteout:
              return CheckWhiteout(JoinPath(name.directory, name.target), path, ++ordinal);
            case EntryName::Kind::kOpaque:
              return CheckOpaque(std::string(name.directory), ordinal);
            case EntryName::Kind::kIgnored:
              return {};
          }
          return {};
        }));
    return options_.contents ? CheckContents() : Result<>();
  }

  Result<> ForEachEntry(RecipeReader& recipe, const Each& each) {
    HeaderSource source(recipe);
    TarReader reader([&] { return source.Next(); });
    for (;;) {
      STRATA_TRY_ASSIGN(const bool more, reader.Next());
      if (!more) return {};
      const TarEntry& entry = reader.entry();
      STRATA_TRY_ASSIGN(const std::string path, NormalizeEntryPath(entry.path, limits_));
      STRATA_TRY_ASSIGN(const EntryName name, ClassifyEntryName(path));
      STRATA_TRY_ASSIGN(const bool nothing, IsLinkToItself(entry, path));
      if (!nothing) STRATA_TRY(each(entry, path, name));
      // As it was unpacked: what libarchive skips it does not read like that, if it is sparse.
      for (bool content = true; content;) {
        STRATA_TRY_ASSIGN(const auto block, reader.ReadBlock());
        content = block.has_value();
      }
    }
  }

  // Whatever there is of it, or is not.
  Result<bool> IsLinkToItself(const TarEntry& entry, const std::string& path) {
    if (entry.type != TarEntry::Type::kHardLink) return false;
    STRATA_TRY_ASSIGN(const std::string target, NormalizeEntryPath(entry.link, limits_));
    return target == path;
  }

  Result<> AddName(const TarEntry& entry, const std::string& path, const EntryName& name) {
    using What = ExpectedNames::What;
    if (name.kind == EntryName::Kind::kIgnored) return {};
    for (std::string_view above = name.directory; !above.empty(); above = DirName(above)) {
      names_.Add(above, What::kImplied);
    }
    if (name.kind == EntryName::Kind::kOpaque) {
      names_.Add(name.directory, What::kOpaque);
    } else if (name.kind == EntryName::Kind::kWhiteout) {
      names_.Add(JoinPath(name.directory, name.target), What::kWhiteout);
    } else if (name.kind == EntryName::Kind::kOrdinary) {
      names_.Add(path, entry.type == TarEntry::Type::kDirectory ? What::kDirectory : What::kOther);
    }
    return {};
  }

  // What the root is without an entry, and that it hides nothing by itself.
  Result<> CheckBareRoot() {
    STRATA_TRY_ASSIGN(const struct stat st, ops_.Stat(fs_.get()));
    if (!names_.Once("") && !names_.MayBeOpaque("")) CheckImplied("", st);
    if (names_.MayBeOpaque("")) return {};
    for (const bool user : {false, true}) {
      const std::string mark = OverlayXattrs(user).Opaque();
      if (ops_.GetXattr(fs_.get(), mark.c_str())) {
        Find(FindingKind::kWrongXattr, "", "'" + mark + "' is too much");
      }
    }
    return {};
  }

  // A directory that has no entry.
  void CheckImplied(const std::string& path, const struct stat& st) {
    constexpr mode_t kMode = 0755;
    if ((st.st_mode & kPermissionBits) != kMode) {
      Find(FindingKind::kWrongMode, path,
           Expected(Octal(st.st_mode & kPermissionBits), Octal(kMode)));
    }
    if (options_.privileged && st.st_uid != 0) {
      Find(FindingKind::kWrongOwner, path, Expected(std::to_string(st.st_uid), "0"));
    }
  }

  // Every name of the directory is one of the tar's.
  Result<> CheckExtra() {
    std::vector<std::string> todo(1);
    while (!todo.empty()) {
      const std::string path = std::move(todo.back());
      todo.pop_back();
      STRATA_TRY(CheckExtraIn(path, todo));
    }
    return {};
  }

  Result<> CheckExtraIn(const std::string& path, std::vector<std::string>& todo) {
    const auto dir = tree_->Open(path);
    auto own = dir ? ops_.Open(*dir, ".", O_RDONLY | O_DIRECTORY) : Result<UniqueFd>(UniqueFd());
    if (!dir || !own) {
      const Error& error = dir ? own.error() : dir.error();
      if (IsOurs(error.code()))
        return Fail(error.code(), "check layer", std::string(error.detail()));
      Find(FindingKind::kUnreadable, path, error.ToString());
      return {};
    }
    auto listed = ops_.ReadDir(own->get(), [&](std::string_view name, ino_t, unsigned char type) {
      std::string entry = JoinPath(path, name);
      if (!names_.Contains(entry) && !IsWhiteoutFile(path, name)) {
        Find(FindingKind::kExtraEntry, entry, "");
        return true;
      }
      bool is_directory = type == DT_DIR;
      const bool implied = names_.IsImplied(entry);
      if (type == DT_UNKNOWN || implied) {
        const auto st = ops_.StatAt(own->get(), std::string(name).c_str());
        is_directory = st && S_ISDIR(st->st_mode);
        if (implied && is_directory) CheckImplied(entry, *st);
      }
      if (is_directory) todo.push_back(std::move(entry));
      return true;
    });
    if (listed || IsOurs(listed.error().code())) return listed;
    Find(FindingKind::kUnreadable, path, listed.error().ToString());
    return {};
  }

  // The form a whiteout has where devices can not be made.
  bool IsWhiteoutFile(const std::string& directory, std::string_view name) const {
    return name.starts_with(kWhiteoutPrefix) &&
           names_.Contains(JoinPath(directory, name.substr(kWhiteoutPrefix.size())));
  }

  // Looks at a name; nothing, after a finding, if it is not there or can not be looked at.
  Result<std::optional<struct stat>> Look(const std::string& path) {
    const auto parent = tree_->Open(std::string(DirName(path)));
    const std::string name(BaseName(path));
    auto st = parent ? ops_.StatAt(*parent, name.c_str())
                     : Result<struct stat>(std::unexpect, ENOENT, "stat");
    const Error* error = !parent ? &parent.error() : !st ? &st.error() : nullptr;
    if (error == nullptr) {
      parent_ = *parent;
      name_ = name;
      return std::optional(*st);
    }
    if (IsOurs(error->code())) return Fail(error->code(), "check layer", path);
    const bool gone = error->code() == ENOENT || error->code() == ENOTDIR || error->code() == ELOOP;
    Find(gone ? FindingKind::kMissingEntry : FindingKind::kUnreadable, path,
         gone ? "" : error->ToString());
    return std::optional<struct stat>();
  }

  Result<> CheckEntry(const TarEntry& entry, const std::string& path, std::uint32_t ordinal) {
    if (!names_.Shows(path, ordinal)) return {};
    if (path.empty()) return CheckRoot(entry);
    const bool device =
        entry.type == TarEntry::Type::kCharDevice || entry.type == TarEntry::Type::kBlockDevice;
    if (device && !options_.privileged) return {};  // it could not be made
    STRATA_TRY_ASSIGN(const auto st, Look(path));
    if (!st) return {};
    if (entry.type == TarEntry::Type::kHardLink) return CheckHardLink(entry, path, *st);
    if ((st->st_mode & S_IFMT) != TypeOf(entry.type)) {
      Find(FindingKind::kWrongType, path,
           Expected(TypeName(st->st_mode), TypeName(TypeOf(entry.type))));
      return {};
    }
    if (device && st->st_rdev != ::makedev(entry.device_major, entry.device_minor)) {
      Find(FindingKind::kWrongLink, path,
           Expected(DeviceName(st->st_rdev),
                    DeviceName(::makedev(entry.device_major, entry.device_minor))));
    }
    if (S_ISREG(st->st_mode) && st->st_size != entry.size) {
      Find(FindingKind::kWrongSize, path,
           Expected(std::to_string(st->st_size), std::to_string(entry.size)));
    }
    if (S_ISLNK(st->st_mode)) STRATA_TRY(CheckTarget(entry, path));
    if (guarded_ && S_ISREG(st->st_mode) && st->st_size >= kGuardedBytes) {
      STRATA_TRY_ASSIGN(const bool has, HasVerity(parent_, name_.c_str()));
      if (!has) Find(FindingKind::kUnguarded, path, "it has no fs-verity, as it had when it came");
    }
    CheckOwnerAndMode(entry, path, *st);
    CheckTime(entry, path, *st);
    return CheckXattrs(entry, path);
  }

  static std::string DeviceName(dev_t device) {
    return std::to_string(::major(device)) + ":" + std::to_string(::minor(device));
  }

  Result<> CheckRoot(const TarEntry& entry) {
    STRATA_TRY_ASSIGN(const struct stat st, ops_.Stat(fs_.get()));
    CheckOwnerAndMode(entry, "", st);
    CheckTime(entry, "", st);
    return {};
  }

  Result<> CheckHardLink(const TarEntry& entry, const std::string& path, const struct stat& st) {
    if (S_ISDIR(st.st_mode)) {
      Find(FindingKind::kWrongType, path, Expected(TypeName(st.st_mode), "a hard link"));
      return {};
    }
    STRATA_TRY_ASSIGN(const std::string target, NormalizeEntryPath(entry.link, limits_));
    if (!names_.Once(target)) return {};  // of which of its files it is a link, the order decides
    STRATA_TRY_ASSIGN(const auto original, Look(target));
    if (original && original->st_ino != st.st_ino) {
      Find(FindingKind::kWrongLink, path, "it is not a link to '" + ShownName(target) + "'");
    }
    return {};
  }

  Result<> CheckTarget(const TarEntry& entry, const std::string& path) {
    STRATA_TRY_ASSIGN(const std::string target, ops_.ReadLink(parent_, name_.c_str()));
    if (target != entry.link) {
      Find(FindingKind::kWrongLink, path,
           Expected("'" + ShownName(target) + "'", "'" + ShownName(entry.link) + "'"));
    }
    return {};
  }

  void CheckOwnerAndMode(const TarEntry& entry, const std::string& path, const struct stat& st) {
    if (options_.privileged && (st.st_uid != entry.uid || st.st_gid != entry.gid)) {
      Find(FindingKind::kWrongOwner, path,
           Expected(std::to_string(st.st_uid) + ":" + std::to_string(st.st_gid),
                    std::to_string(entry.uid) + ":" + std::to_string(entry.gid)));
    }
    if (S_ISLNK(st.st_mode)) return;
    mode_t bits = kPermissionBits;
    // With an ACL the group's bits are its mask.
    const bool acl = std::ranges::any_of(
        entry.xattrs, [](const auto& xattr) { return xattr.first == kAclAccessXattr; });
    if (acl) bits &= ~kGroupBits;
    if ((st.st_mode & bits) != (entry.mode & bits)) {
      Find(FindingKind::kWrongMode, path,
           Expected(Octal(st.st_mode & kPermissionBits), Octal(entry.mode & kPermissionBits)));
    }
  }

  void CheckTime(const TarEntry& entry, const std::string& path, const struct stat& st) {
    if (entry.mtime.tv_sec < kTimeMin || entry.mtime.tv_sec > kTimeMax) return;
    if (SameTime(st.st_mtim, entry.mtime)) return;
    Find(FindingKind::kWrongTime, path, Expected(TimeText(st.st_mtim), TimeText(entry.mtime)));
  }

  static std::string TimeText(const struct timespec& time) {
    std::string text = FormatRfc3339(time.tv_sec);
    const std::string nanoseconds = std::to_string(time.tv_nsec);
    const std::size_t end = text.find('Z');
    return text.insert(end, "." + std::string(9 - nanoseconds.size(), '0') + nanoseconds);
  }

  // Of the entry that was looked at last.
  Result<> CheckXattrs(const TarEntry& entry, const std::string& path) {
    std::map<std::string, std::string> expected;
    for (const auto& [name, value] : entry.xattrs) {
      const auto on_disk = XattrNameOnDisk(name);
      if (on_disk && (options_.privileged || on_disk->starts_with("user."))) {
        expected[*on_disk] = value;
      }
    }
    const auto names = ops_.ListXattrAt(parent_, name_.c_str());
    if (!names) {
      if (names.error().code() == EOPNOTSUPP && expected.empty()) return {};
      Find(FindingKind::kWrongXattr, path, names.error().ToString());
      return {};
    }
    for (const auto& [name, value] : expected) {
      const auto actual = ops_.GetXattrAt(parent_, name_.c_str(), name.c_str());
      if (!actual || *actual != value) {
        Find(FindingKind::kWrongXattr, path,
             "'" + ShownName(name) + (actual ? "' has another value" : "' is missing"));
      }
    }
    if (!names_.Once(path) || !options_.privileged) return {};  // those of other entries stay, too
    for (const std::string& name : *names) {
      const bool may_hide = entry.type == TarEntry::Type::kDirectory && names_.MayBeOpaque(path);
      if (expected.contains(name) || !XattrNameOnDisk(name) || (may_hide && IsMark(name))) continue;
      Find(FindingKind::kWrongXattr, path, "'" + ShownName(name) + "' is too much");
    }
    return {};
  }

  // What unpacking writes itself.
  static bool IsMark(const std::string& name) {
    return OverlayXattrs(false).Opaque() == name || OverlayXattrs(true).Opaque() == name;
  }

  Result<> CheckWhiteout(const std::string& hidden, const std::string& path,
                         std::uint32_t ordinal) {
    // Something of the layer's own stands there instead.
    if (names_.HasOwn(hidden) || !names_.Shows(path, ordinal)) return {};
    const auto parent = tree_->Open(std::string(DirName(hidden)));
    if (!parent) {
      if (IsOurs(parent.error().code())) return Fail(parent.error().code(), "check layer", hidden);
      Find(FindingKind::kMissingEntry, path, "");
      return {};
    }
    const auto device = ops_.StatAt(*parent, std::string(BaseName(hidden)).c_str());
    if (device && IsWhiteoutDevice(*device)) return {};
    const auto file = ops_.StatAt(*parent, std::string(BaseName(path)).c_str());
    if (file && S_ISREG(file->st_mode)) return {};
    Find(device ? FindingKind::kWrongType : FindingKind::kMissingEntry, path,
         device ? Expected(TypeName(device->st_mode), "a whiteout") : "");
    return {};
  }

  Result<> CheckOpaque(const std::string& directory, std::uint32_t ordinal) {
    if (!names_.Survives(directory, ordinal)) return {};
    const auto dir = tree_->Open(directory);
    if (!dir) return {};  // missing, which its own entry or those in it tell
    STRATA_TRY_ASSIGN(const UniqueFd own, ops_.Open(*dir, ".", O_RDONLY | O_DIRECTORY));
    for (const bool user : {false, true}) {
      const auto mark = ops_.GetXattr(own.get(), OverlayXattrs(user).Opaque().c_str());
      if (mark && *mark == "y") return {};
      // NFS shows none of root's, whatever there is; the index, which has them, is looked at, too.
      if (!mark && mark.error().code() == EOPNOTSUPP && !user && options_.privileged) return {};
    }
    Find(FindingKind::kWrongXattr, directory, "the directory is not opaque");
    return {};
  }

  // Every file's bytes.
  Result<> CheckContents() {
    LayerTarOptions options;
    options.verify = true;
    options.damaged = [&](const std::string& path, const Error& error) {
      // In the layer, or a content that is in the tar only.
      const bool in_layer = path.starts_with("fs/");
      Find(in_layer ? FindingKind::kContent : FindingKind::kBadRecipe,
           in_layer ? path.substr(3) : path, std::string(error.detail()));
    };
    auto written = LayerTar::Write(
        ops_, dir_,
        [&](std::string_view bytes) -> Result<> {
          if (!options_.pace) return {};
          auto paced = options_.pace(bytes.size());
          if (!paced) paced_out_ = true;
          return paced;
        },
        options);
    return written;
  }

  FileOps& ops_;
  const int dir_;
  const Digest diff_id_;
  const LayerCheckOptions& options_;
  const FindingSink& found_;
  const UnpackLimits limits_ = UnpackLimits::None();
  UniqueFd fs_;
  std::optional<ConfinedTree> tree_;
  ExpectedNames names_;
  // Where Look() looked last.
  int parent_ = -1;
  std::string name_;
  bool paced_out_ = false;
  bool guarded_ = false;
};

}  // namespace

Result<> CheckLayerDirectory(FileOps& ops, int layer_dir, const Digest& diff_id,
                             const LayerCheckOptions& options, const FindingSink& found) {
  return LayerCheck(ops, layer_dir, diff_id, options, found).Run();
}

}  // namespace strata::layerstore
