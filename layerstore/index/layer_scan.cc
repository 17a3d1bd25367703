#include "layerstore/index/layer_scan.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "base/path.h"
#include "base/try.h"
#include "layerstore/index/index_writer.h"
#include "layerstore/index/marks.h"

namespace strata::layerstore {
namespace {

using Entry = MetadataIndex::Entry;

// The names in a directory, which may be a million.
class NameList {
 public:
  void Add(std::string_view name) {
    if (chunks_.empty() || used_ + name.size() + 1 > kChunk) {
      chunks_.push_back(std::make_unique<char[]>(kChunk));
      used_ = 0;
    }
    char* const copy = chunks_.back().get() + used_;
    std::memcpy(copy, name.data(), name.size());
    copy[name.size()] = '\0';
    places_.push_back(static_cast<std::uint32_t>((chunks_.size() - 1) * kChunk + used_));
    used_ += name.size() + 1;
  }
  void Sort() {
    std::ranges::sort(places_, [&](std::uint32_t a, std::uint32_t b) {
      return std::strcmp(TextAt(a), TextAt(b)) < 0;
    });
  }
  std::size_t size() const { return places_.size(); }
  const char* operator[](std::size_t i) const { return TextAt(places_[i]); }

 private:
  static constexpr std::size_t kChunk = std::size_t{64} * 1024;

  const char* TextAt(std::uint32_t place) const {
    return chunks_[place / kChunk].get() + place % kChunk;
  }

  std::vector<std::unique_ptr<char[]>> chunks_;
  std::size_t used_ = 0;  // of the last chunk
  std::vector<std::uint32_t> places_;
};

class Scan {
 public:
  Scan(FileOps& files, bool user_marks, const IndexFile& to, const ScanHints& hints)
      : files_(files),
        overlay_(user_marks),
        hints_(hints),
        to_(to),
        writer_(files, to.scratch, MetadataIndex::Kind::kLayer, user_marks) {}

  Result<> Run(int root, const std::string& path) {
    STRATA_TRY_ASSIGN(const struct stat st, files_.Stat(root));
    writer_.AddLayer({LayerProof::Of(st), st.st_blksize, path});
    Entry entry;
    entry.attr = st;
    STRATA_TRY(ReadXattrs(root, ".", entry));
    // Some filesystems give every file one, a security label for instance.
    ask_all_ = !hints_.may_have_xattrs || (entry.has_xattrs && !hints_.may_have_xattrs(st.st_ino));
    entry.target = {};  // a root is where it is
    STRATA_TRY(writer_.AddRoot(entry));

    std::vector<Level> levels;
    STRATA_TRY_ASSIGN(UniqueFd fd, Reopen(root, "."));
    STRATA_TRY_ASSIGN(Level top, ReadLevel(std::move(fd), MetadataIndex::kRoot));
    levels.push_back(std::move(top));
    while (!levels.empty()) {
      Level& level = levels.back();
      if (level.next == level.children.size()) {
        levels.pop_back();
        continue;
      }
      const Child child = level.children[level.next++];
      STRATA_TRY_ASSIGN(UniqueFd opened, Reopen(level.fd.get(), level.names[child.name]));
      STRATA_TRY_ASSIGN(Level below, ReadLevel(std::move(opened), child.directory));
      levels.push_back(std::move(below));
    }
    STRATA_TRY(SettleLinks());
    return writer_.Finish(to_.file);
  }

 private:
  // A name of an inode that has several.
  struct Link {
    ino_t ino;
    MetadataIndex::Number number;
    std::uint32_t links;  // 0: it may get names elsewhere any time
  };
  struct Child {
    std::uint32_t name;  // in the level's names
    MetadataIndex::Directory directory;
  };
  struct Level {
    UniqueFd fd;
    NameList names;
    std::vector<Child> children;
    std::size_t next = 0;
  };

  Result<UniqueFd> Reopen(int dir, const char* name) {
    constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
    auto fd = files_.Open(dir, name, kFlags | O_NOATIME);
    if (fd || fd.error().code() != EPERM) return fd;
    return files_.Open(dir, name, kFlags);  // not our directory
  }

  // Reads a directory and writes its entries.
  Result<Level> ReadLevel(UniqueFd fd, MetadataIndex::Directory directory) {
    Level level;
    level.fd = std::move(fd);
    std::set<std::string> hidden;
    bool opaque = false;
    STRATA_TRY(files_.ReadDir(level.fd.get(), [&](std::string_view name, ino_t, unsigned char) {
      if (!name.starts_with(kWhiteoutPrefix)) {
        level.names.Add(name);
      } else if (name == kOpaqueMarker) {
        opaque = true;
      } else if (!name.starts_with(kReservedPrefix) && name.size() > kWhiteoutPrefix.size()) {
        hidden.emplace(name.substr(kWhiteoutPrefix.size()));
      }
      return true;
    }));
    level.names.Sort();
    writer_.Begin(directory);
    auto next_hidden = hidden.begin();
    for (std::uint32_t i = 0; i < level.names.size(); ++i) {
      const std::string_view name = level.names[i];
      for (; next_hidden != hidden.end() && *next_hidden < name; ++next_hidden) {
        STRATA_TRY(AddWhiteout(*next_hidden));
      }
      const bool has_marker = next_hidden != hidden.end() && *next_hidden == name;
      if (has_marker) ++next_hidden;
      STRATA_TRY(AddEntry(level, i, has_marker));
    }
    for (; next_hidden != hidden.end(); ++next_hidden) STRATA_TRY(AddWhiteout(*next_hidden));
    STRATA_TRY(writer_.End());
    if (opaque) STRATA_TRY(writer_.MarkOpaque(directory));
    if (level.children.empty()) level.names = {};
    return level;
  }

  Result<> AddWhiteout(const std::string& name) {
    if (!PathComponent::Valid(name)) return {};
    Entry entry;
    entry.name = name;
    entry.whiteout = true;
    entry.attr.st_mode = S_IFCHR;
    return writer_.Add(entry);
  }

  // `has_marker`: a `.wh.` file of its name stands beside it.
  Result<> AddEntry(Level& level, std::uint32_t place, bool has_marker) {
    const char* const name = level.names[place];
    Entry entry;
    entry.name = name;
    STRATA_TRY(Describe(level.fd.get(), name, entry));
    entry.alone = has_marker && S_ISDIR(entry.attr.st_mode);
    Identify(entry, static_cast<MetadataIndex::Number>(writer_.entries()));
    STRATA_TRY(writer_.Add(entry));
    if (entry.directory) level.children.push_back({place, *entry.directory});
    return {};
  }

  // Whose inode has no other names is identified by it; see SettleLinks() for those that have.
  void Identify(Entry& entry, MetadataIndex::Number number) {
    struct stat& st = entry.attr;
    if (S_ISDIR(st.st_mode) || entry.whiteout) return;
    const bool may_share = hints_.will_share && S_ISREG(st.st_mode) && st.st_size > 0;
    if (st.st_nlink > 1 && (!hints_.is_link_group || hints_.is_link_group(st.st_ino))) {
      links_.push_back(
          {st.st_ino, number, may_share ? 0U : static_cast<std::uint32_t>(st.st_nlink)});
      return;
    }
    if (st.st_nlink > 1 || may_share) entry.identity = number;
    st.st_nlink = 1;
  }

  // Names of an inode are one file. Where it has names outside of the layer, too, those are
  // others'.
  Result<> SettleLinks() {
    std::ranges::sort(links_, {},
                      [](const Link& link) { return std::pair(link.ino, link.number); });
    for (auto link = links_.begin(); link != links_.end();) {
      const auto end = std::find_if(link, links_.end(),
                                    [&](const Link& other) { return other.ino != link->ino; });
      const auto names = static_cast<std::uint32_t>(end - link);
      const MetadataIndex::Number first = link->number;
      for (; link != end; ++link) {
        if (link->links != names) STRATA_TRY(writer_.SetLinks(link->number, names, first));
      }
    }
    return {};
  }

  // The target is target_ then.
  Result<> Describe(int dir, const char* name, Entry& entry) {
    target_.clear();
    STRATA_TRY_ASSIGN(entry.attr, files_.StatAt(dir, name));
    const mode_t mode = entry.attr.st_mode;
    if (IsWhiteoutDevice(entry.attr)) {
      entry.whiteout = true;
      return {};
    }
    if (S_ISLNK(mode)) {
      STRATA_TRY_ASSIGN(target_, files_.ReadLink(dir, name));
    }
    if (ask_all_ || hints_.may_have_xattrs(entry.attr.st_ino)) {
      STRATA_TRY(ReadXattrs(dir, name, entry));
    }
    entry.target = target_;
    return {};
  }

  // Sets the entry's flags from the names of its xattrs, and target_ to a redirect.
  Result<> ReadXattrs(int dir, const char* file, Entry& entry) {
    auto listed = files_.ListXattrAt(dir, file);
    if (!listed) {
      if (listed.error().code() == EOPNOTSUPP) return {};
      return std::unexpected(std::move(listed).error());
    }
    const struct stat& st = entry.attr;
    for (const std::string& name : *listed) {
      if (!overlay_.IsPrivate(name) || overlay_.IsEscaped(name)) {
        entry.has_xattrs = true;
      } else if (S_ISDIR(st.st_mode) && name == overlay_.Opaque()) {
        STRATA_TRY_ASSIGN(const std::string value, files_.GetXattrAt(dir, file, name.c_str()));
        entry.opaque = entry.opaque || value == "y";
      } else if (S_ISDIR(st.st_mode) && name == overlay_.Implied()) {
        entry.implied = true;
      } else if (S_ISDIR(st.st_mode) && name == overlay_.Redirect()) {
        STRATA_TRY_ASSIGN(target_, files_.GetXattrAt(dir, file, name.c_str()));
        if (!IsRedirect(target_)) {
          return Fail(EINVAL, "redirect", "'" + target_ + "' is not a redirect");
        }
      } else if (S_ISREG(st.st_mode) && name == overlay_.Metacopy()) {
        entry.metacopy = st.st_size > 0 && st.st_blocks * kStatBlock < st.st_size;
      }
    }
    if (entry.opaque) target_.clear();  // it wins, as in kernel overlayfs
    return {};
  }

  FileOps& files_;
  const OverlayXattrs overlay_;
  const ScanHints& hints_;
  const IndexFile to_;
  IndexWriter writer_;
  bool ask_all_ = true;  // for extended attributes
  std::deque<Link> links_;
  std::string target_;
};

}  // namespace

Result<> ScanLayer(FileOps& files, int root, const std::string& path, bool user_marks,
                   const IndexFile& to, const ScanHints& hints) {
  return Scan(files, user_marks, to, hints).Run(root, path);
}

}  // namespace strata::layerstore
