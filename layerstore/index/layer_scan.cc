#include "layerstore/index/layer_scan.h"

#include <algorithm>
#include <deque>
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

class Scan {
 public:
  Scan(FileOps& files, bool user_marks, const ScanHints& hints)
      : files_(files),
        overlay_(user_marks),
        hints_(hints),
        writer_(MetadataIndex::Kind::kLayer, user_marks) {}

  Result<std::string> Run(int root, const std::string& path) {
    STRATA_TRY_ASSIGN(const struct stat st, files_.Stat(root));
    writer_.AddLayer({LayerProof::Of(st), st.st_blksize, path});
    Entry entry;
    entry.attr = st;
    STRATA_TRY(ReadXattrs(root, ".", entry));
    entry.opaque = false;  // the union does not ask its root for marks
    entry.target = {};
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
      STRATA_TRY_ASSIGN(UniqueFd opened, Reopen(level.fd.get(), child.name));
      STRATA_TRY_ASSIGN(Level below, ReadLevel(std::move(opened), child.directory));
      levels.push_back(std::move(below));
    }
    SettleLinks();
    return writer_.Finish();
  }

 private:
  // A name of an inode that has several.
  struct Link {
    ino_t ino;
    MetadataIndex::Number number;
    std::uint32_t links;
  };
  struct Child {
    const char* name;
    MetadataIndex::Directory directory;
  };
  struct Level {
    UniqueFd fd;
    std::deque<std::string> texts;  // what entries and children point to
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
    std::vector<Entry> entries;
    std::set<std::string, std::less<>> markers;
    bool opaque = false;
    STRATA_TRY(files_.ReadDir(level.fd.get(), [&](std::string_view name, ino_t, unsigned char) {
      if (!name.starts_with(kWhiteoutPrefix)) {
        entries.emplace_back().name = level.texts.emplace_back(name);
      } else if (name == kOpaqueMarker) {
        opaque = true;
      } else if (!name.starts_with(kReservedPrefix) && name.size() > kWhiteoutPrefix.size()) {
        markers.emplace(name.substr(kWhiteoutPrefix.size()));
      }
      return true;
    }));
    for (Entry& entry : entries) {
      STRATA_TRY(Describe(level, entry));
      const auto marker = markers.find(entry.name);
      if (marker == markers.end()) continue;
      entry.alone = entry.alone || S_ISDIR(entry.attr.st_mode);
      markers.erase(marker);
    }
    for (const std::string& name : markers) {
      if (!PathComponent::Valid(name)) continue;
      Entry& entry = entries.emplace_back();
      entry.name = level.texts.emplace_back(name);
      entry.whiteout = true;
      entry.attr.st_mode = S_IFCHR;
    }
    std::ranges::sort(entries, {}, &Entry::name);
    auto number = static_cast<MetadataIndex::Number>(writer_.entries());
    for (Entry& entry : entries) Identify(entry, number++);
    STRATA_TRY(writer_.Fill(directory, entries));
    if (opaque) writer_.MarkOpaque(directory);
    for (const Entry& entry : entries) {
      if (entry.directory) level.children.push_back({entry.name.data(), *entry.directory});
    }
    return level;
  }

  // Whose inode has no other names is identified by it; see SettleLinks() for those that have.
  void Identify(Entry& entry, MetadataIndex::Number number) {
    struct stat& st = entry.attr;
    if (S_ISDIR(st.st_mode) || entry.whiteout) return;
    if (st.st_nlink > 1 && (!hints_.is_link_group || hints_.is_link_group(st.st_ino))) {
      links_.push_back({st.st_ino, number, static_cast<std::uint32_t>(st.st_nlink)});
      return;
    }
    const bool may_share = hints_.will_share && S_ISREG(st.st_mode) && st.st_size > 0;
    if (st.st_nlink > 1 || may_share) entry.identity = number;
    st.st_nlink = 1;
  }

  // Names of an inode are one file. Where it has names outside of the layer, too, those are
  // others'.
  void SettleLinks() {
    std::ranges::sort(links_, {},
                      [](const Link& link) { return std::pair(link.ino, link.number); });
    for (auto link = links_.begin(); link != links_.end();) {
      const auto end = std::find_if(link, links_.end(),
                                    [&](const Link& other) { return other.ino != link->ino; });
      const auto names = static_cast<std::uint32_t>(end - link);
      const MetadataIndex::Number first = link->number;
      for (; link != end; ++link) {
        if (link->links != names) writer_.SetLinks(link->number, names, first);
      }
    }
  }

  Result<> Describe(Level& level, Entry& entry) {
    const std::string name(entry.name);
    STRATA_TRY_ASSIGN(entry.attr, files_.StatAt(level.fd.get(), name.c_str()));
    const mode_t mode = entry.attr.st_mode;
    if (IsWhiteoutDevice(entry.attr)) {
      entry.whiteout = true;
      return {};
    }
    if (S_ISLNK(mode)) {
      STRATA_TRY_ASSIGN(std::string target, files_.ReadLink(level.fd.get(), name.c_str()));
      entry.target = level.texts.emplace_back(std::move(target));
    }
    if (hints_.may_have_xattrs && !hints_.may_have_xattrs(entry.attr.st_ino)) return {};
    STRATA_TRY(ReadXattrs(level.fd.get(), name.c_str(), entry));
    if (!redirect_.empty()) entry.target = level.texts.emplace_back(std::move(redirect_));
    redirect_.clear();
    return {};
  }

  // Sets the entry's flags from the names of its xattrs, and redirect_.
  Result<> ReadXattrs(int dir, const char* file, Entry& entry) {
    redirect_.clear();
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
      } else if (S_ISDIR(st.st_mode) && name == overlay_.Redirect()) {
        STRATA_TRY_ASSIGN(redirect_, files_.GetXattrAt(dir, file, name.c_str()));
        if (!IsRedirect(redirect_)) {
          return Fail(EINVAL, "redirect", "'" + redirect_ + "' is not a redirect");
        }
      } else if (S_ISREG(st.st_mode) && name == overlay_.Metacopy()) {
        entry.metacopy = st.st_size > 0 && st.st_blocks * kStatBlock < st.st_size;
      }
    }
    if (entry.opaque) redirect_.clear();  // it wins, as in kernel overlayfs
    return {};
  }

  FileOps& files_;
  const OverlayXattrs overlay_;
  const ScanHints& hints_;
  IndexWriter writer_;
  std::deque<Link> links_;
  std::string redirect_;
};

}  // namespace

Result<std::string> ScanLayer(FileOps& files, int root, const std::string& path, bool user_marks,
                              const ScanHints& hints) {
  return Scan(files, user_marks, hints).Run(root, path);
}

}  // namespace strata::layerstore
