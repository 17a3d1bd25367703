#include "layerstore/explore/name_story.h"

#include <utility>

#include "base/try.h"
#include "layerstore/index/name_merge.h"

namespace strata::layerstore {
namespace {

using Clearing = LayeredDirectory::Clearing;

class Teller {
 public:
  explicit Teller(std::uint32_t depth) : depth_(depth) {}

  void Hide(std::uint16_t layer, Hiding by) {
    if (story_.shown == nullptr) return;
    story_.events.push_back({layer, Effect::kHidden, by, story_.shown, nullptr});
    story_.shown = nullptr;
    Clear(layer, by);
  }

  // `cleared`: the same layer hid all that was there before.
  void Put(const LayerEntry& found, std::optional<Hiding> cleared) {
    const MetadataIndex::Entry& entry = found.entry;
    if (entry.whiteout) return Hide(found.layer, cleared.value_or(By(Cause::kWhiteout)));
    const LayerEntry* before = story_.shown;
    const bool over_directory = before != nullptr && before->entry.directory;
    std::optional<Hiding> hiding = cleared;
    if (!hiding && over_directory) hiding = HidesBelow(entry);
    if (hiding) Clear(found.layer, *hiding);
    if (entry.directory) story_.directory.parts.push_back({found.layer, *entry.directory});

    Effect effect = Effect::kReplaced;
    if (before == nullptr) {
      effect = Effect::kAdded;
      hiding = std::nullopt;
    } else if (over_directory && !hiding) {
      effect = Effect::kMerged;
    }
    story_.events.push_back({found.layer, effect, hiding, before, &found});
    story_.shown = &found;
  }

  NameStory Take() { return std::move(story_); }

 private:
  Hiding By(Cause cause) const { return {cause, depth_}; }

  // Over a directory.
  std::optional<Hiding> HidesBelow(const MetadataIndex::Entry& entry) const {
    if (!entry.directory) return By(Cause::kNotDirectory);
    if (entry.opaque || entry.alone) return By(Cause::kOpaque);
    return std::nullopt;
  }

  // Where nothing has come since the last one, another would say nothing: so there are no more of
  // them than of parts.
  void Clear(std::uint16_t layer, Hiding by) {
    auto& [parts, clearings] = story_.directory;
    if (parts.empty()) return;
    if (!clearings.empty() && clearings.back().layer > parts.back().layer) return;
    clearings.push_back({layer, by});
  }

  const std::uint32_t depth_;
  NameStory story_;
};

}  // namespace

Result<> CheckLayerCount(LayerIndexes layers) {
  constexpr std::size_t kMaxLayers = 0xFFFF;
  if (layers.size() > kMaxLayers) return Fail(E2BIG, "explore", "too many layers");
  return {};
}

NameStory TellStory(std::span<const LayerEntry> found, std::span<const Clearing> clearings,
                    std::uint32_t depth) {
  Teller teller(depth);
  auto clearing = clearings.begin();
  for (const LayerEntry& each : found) {
    for (; clearing != clearings.end() && clearing->layer < each.layer; ++clearing) {
      teller.Hide(clearing->layer, clearing->by);
    }
    std::optional<Hiding> cleared;
    if (clearing != clearings.end() && clearing->layer == each.layer) cleared = (clearing++)->by;
    teller.Put(each, cleared);
  }
  for (; clearing != clearings.end(); ++clearing) teller.Hide(clearing->layer, clearing->by);
  return teller.Take();
}

Result<LayerEntry> LoadEntry(LayerIndexes layers, std::uint16_t layer,
                             MetadataIndex::Number number) {
  STRATA_TRY_ASSIGN(MetadataIndex::Entry entry, layers[layer]->At(number));
  if (entry.metacopy || (entry.directory && !entry.target.empty())) {
    return Fail(ENOTSUP, "explore",
                "layer " + std::to_string(layer + 1) + ": \"" + std::string(entry.name) +
                    "\" has a mark that only writable layers of mounts have");
  }
  return LayerEntry{layer, std::move(entry)};
}

Result<std::vector<LayerEntry>> LoadRoots(LayerIndexes layers) {
  std::vector<LayerEntry> roots;
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    STRATA_TRY_ASSIGN(LayerEntry root, LoadEntry(layers, static_cast<std::uint16_t>(layer), 0));
    roots.push_back(std::move(root));
  }
  return roots;
}

Result<std::vector<LayerEntry>> FindEntries(LayerIndexes layers, const LayeredDirectory& directory,
                                            std::string_view name) {
  std::vector<LayerEntry> found;
  for (const LayeredDirectory::Part& part : directory.parts) {
    STRATA_TRY_ASSIGN(const auto number, layers[part.layer]->Find(part.directory, name));
    if (!number) continue;
    STRATA_TRY_ASSIGN(LayerEntry entry, LoadEntry(layers, part.layer, *number));
    found.push_back(std::move(entry));
  }
  return found;
}

Result<> ForEachName(LayerIndexes layers, const LayeredDirectory& directory,
                     const std::function<Result<>(std::span<const LayerEntry>)>& each) {
  const auto& parts = directory.parts;
  NameMerge names;
  for (const LayeredDirectory::Part& part : parts) {
    STRATA_TRY(names.Add(*layers[part.layer], part.directory));
  }
  std::vector<LayerEntry> entries;
  for (;;) {
    STRATA_TRY_ASSIGN(const std::span<const NameMerge::Found> found, names.Next());
    if (found.empty()) return {};
    entries.clear();
    for (const NameMerge::Found& name : found) {
      STRATA_TRY_ASSIGN(LayerEntry entry, LoadEntry(layers, parts[name.part].layer, name.number));
      entries.push_back(std::move(entry));
    }
    STRATA_TRY(each(entries));
  }
}

}  // namespace strata::layerstore
