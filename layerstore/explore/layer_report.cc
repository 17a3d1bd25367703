#include "layerstore/explore/layer_report.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "base/path.h"
#include "base/try.h"
#include "layerstore/explore/difference.h"

namespace strata::layerstore {
namespace {

using Entry = MetadataIndex::Entry;
using How = WastedFile::How;

bool HasContent(const Entry& entry) {
  return S_ISREG(entry.attr.st_mode) && entry.attr.st_size > 0;
}
bool IsLinkGroup(const Entry& entry) { return entry.attr.st_nlink > 1; }
std::uint64_t SizeOf(const Entry& entry) { return static_cast<std::uint64_t>(entry.attr.st_size); }

How HowOf(const NameEvent& event) {
  if (event.effect == Effect::kHidden) return How::kHidden;
  switch (CompareEntries(event.before->entry, event.after->entry)) {
    case Difference::kNone:
      return How::kUnchanged;
    case Difference::kMetadata:
      return How::kNewMetadata;
    case Difference::kContent:
    case Difference::kType:
      break;
  }
  return How::kReplaced;
}

// A file's content and the name it goes by.
struct Content {
  std::uint16_t layer = 0;
  MetadataIndex::Number number = 0;
  ino_t inode = 0;
  std::uint64_t size = 0;
};
struct Lost {
  Content content;
  std::uint16_t by = 0;
  How how = How::kHidden;
};

// Which contents show and which do not.
class Ledger {
 public:
  // A name of a file with content; whether the content is a new one.
  bool Add(const LayerEntry& file) {
    if (!IsLinkGroup(file.entry)) return true;
    const auto [group, added] = groups_.try_emplace(KeyOf(file));
    if (added) group->second.lost.content = ContentOf(file);
    ++group->second.names;
    return added;
  }
  // That name is still there in the end.
  void Show(const LayerEntry& file) {
    if (!IsLinkGroup(file.entry)) shown_.push_back(file.entry.attr.st_ino);
  }
  // Or it is not.
  void Lose(const LayerEntry& file, std::uint16_t by, How how) {
    if (!IsLinkGroup(file.entry)) return lost_.push_back({ContentOf(file), by, how});
    Group& group = groups_[KeyOf(file)];
    if (group.names_lost++ == 0 || by >= group.lost.by) {
      group.lost.by = by;
      group.lost.how = how;
    }
  }

  // After the last name. Contents that do not show.
  std::vector<Lost> Close() {
    for (const auto& [key, group] : groups_) {
      if (group.names_lost < group.names) {
        shown_.push_back(group.lost.content.inode);
      } else {
        lost_.push_back(group.lost);
      }
    }
    groups_.clear();
    std::ranges::sort(shown_);
    return std::move(lost_);
  }
  // After Close().
  bool Shows(ino_t inode) const { return std::ranges::binary_search(shown_, inode); }

 private:
  struct Group {
    std::uint32_t names = 0;
    std::uint32_t names_lost = 0;
    Lost lost;
  };
  // Layer, whether by identity, that or the inode: what is one file (docs/formats/index.md).
  using Key = std::tuple<std::uint16_t, bool, std::uint64_t>;

  static Key KeyOf(const LayerEntry& file) {
    const auto& identity = file.entry.identity;
    return {file.layer, identity.has_value(), identity ? *identity : file.entry.attr.st_ino};
  }
  static Content ContentOf(const LayerEntry& file) {
    return {file.layer, file.entry.number, file.entry.attr.st_ino, SizeOf(file.entry)};
  }

  std::map<Key, Group> groups_;
  std::vector<Lost> lost_;
  std::vector<ino_t> shown_;
};

class Survey {
 public:
  explicit Survey(LayerIndexes layers) : layers_(layers) {
    report_.layers.resize(layers.size());
    for (const auto& layer : layers) entries_given_ += layer->entries();
  }

  Result<ImageReport> Run(const ReportOptions& options) {
    STRATA_TRY_ASSIGN(const std::vector<LayerEntry> roots, LoadRoots(layers_));
    open_.push_back({TellStory(roots, {}, 0).directory, 1});
    while (!open_.empty()) {
      const Open next = std::move(open_.back());
      open_.pop_back();
      STRATA_TRY(ForEachName(layers_, next.directory, [&](std::span<const LayerEntry> found) {
        return Count(found, next.directory.clearings, next.depth);
      }));
    }
    STRATA_TRY(Settle(ledger_.Close(), options.largest));
    return std::move(report_);
  }

 private:
  struct Open {
    LayeredDirectory directory;
    std::uint32_t depth;  // of what is in it
  };

  Result<> Count(std::span<const LayerEntry> found,
                 std::span<const LayeredDirectory::Clearing> clearings, std::uint32_t depth) {
    entries_seen_ += found.size();
    if (entries_seen_ > entries_given_) return Fail(EBADMSG, "index", "not a tree");
    for (const LayerEntry& each : found) CountEntry(each);
    NameStory story = TellStory(found, clearings, depth);
    for (const NameEvent& event : story.events) CountEvent(event);
    if (story.shown != nullptr && HasContent(story.shown->entry)) ledger_.Show(*story.shown);
    if (!story.directory.parts.empty()) open_.push_back({std::move(story.directory), depth + 1});
    return {};
  }

  void CountEntry(const LayerEntry& found) {
    LayerReport& layer = report_.layers[found.layer];
    if (found.entry.whiteout) {
      ++layer.whiteouts;
      return;
    }
    ++layer.entries;
    if (HasContent(found.entry) && ledger_.Add(found)) layer.size += SizeOf(found.entry);
  }

  void CountEvent(const NameEvent& event) {
    LayerReport& layer = report_.layers[event.layer];
    switch (event.effect) {
      case Effect::kAdded:
        ++layer.added;
        return;
      case Effect::kMerged:
        ++layer.merged;
        return;
      case Effect::kHidden:
        ++layer.hidden;
        break;
      case Effect::kReplaced:
        ++layer.replaced;
        break;
    }
    const How how = HowOf(event);
    if (how == How::kUnchanged) ++layer.unchanged;
    if (HasContent(event.before->entry)) ledger_.Lose(*event.before, event.layer, how);
  }

  Result<> Settle(std::vector<Lost> lost, std::size_t largest) {
    std::ranges::sort(lost, [](const Lost& a, const Lost& b) {
      return std::tuple(b.content.size, a.content.layer, a.content.number) <
             std::tuple(a.content.size, b.content.layer, b.content.number);
    });
    for (LayerReport& layer : report_.layers) report_.size += layer.size;
    std::set<ino_t> told;
    for (const Lost& each : lost) {
      const Content& content = each.content;
      report_.layers[content.layer].wasted += content.size;
      report_.wasted += content.size;
      const bool own = !ledger_.Shows(content.inode) && told.insert(content.inode).second;
      if (own) report_.wasted_on_disk += content.size;
    }
    report_.wasted_files = lost.size();
    lost.resize(std::min(lost.size(), largest));
    for (const Lost& each : lost) {
      STRATA_TRY_ASSIGN(std::string path, PathOf(each.content));
      report_.largest.push_back(
          {std::move(path), each.content.size, each.content.layer, each.by, each.how});
    }
    return {};
  }

  Result<std::string> PathOf(const Content& content) const {
    const MetadataIndex& index = *layers_[content.layer];
    STRATA_TRY_ASSIGN(const Entry entry, index.NameAt(content.number));
    STRATA_TRY_ASSIGN(const std::string directory, index.PathOf(entry.parent));
    return "/" + JoinPath(directory, entry.name);
  }

  const LayerIndexes layers_;
  ImageReport report_;
  Ledger ledger_;
  std::vector<Open> open_;
  std::uint64_t entries_given_ = 0;
  std::uint64_t entries_seen_ = 0;
};

}  // namespace

Result<ImageReport> ReportLayers(LayerIndexes layers, const ReportOptions& options) {
  STRATA_TRY(CheckLayerCount(layers));
  return Survey(layers).Run(options);
}

}  // namespace strata::layerstore
