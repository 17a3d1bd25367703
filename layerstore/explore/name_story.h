// One name through all layers of an image: what each of them did to it. Private to this folder, but
// for the words that layer_report.h and path_history.h speak.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "layerstore/index/metadata_index.h"

namespace strata::layerstore {

// The indexes of an image's layers, base first, all of one filesystem.
using LayerIndexes = std::span<const std::shared_ptr<const MetadataIndex>>;

// E2BIG for more than the number of a layer can tell apart.
Result<> CheckLayerCount(LayerIndexes layers);

// What a layer did to a name.
enum class Effect : std::uint8_t {
  kAdded,     // the layers below show no such name
  kReplaced,  // other than by a directory over a directory
  kMerged,    // a directory over a directory, whose entries go on to show
  kHidden,
};

// What took away what the layers below show.
enum class Cause : std::uint8_t {
  kWhiteout,
  kOpaque,        // a directory of which nothing lower shows
  kNotDirectory,  // something else in place of a directory
};
struct Hiding {
  Cause cause = Cause::kWhiteout;
  std::uint32_t depth = 0;  // of the name that did it: the root's is 0
};

// A name in a layer.
struct LayerEntry {
  std::uint16_t layer = 0;
  MetadataIndex::Entry entry;
};

struct NameEvent {
  std::uint16_t layer = 0;
  Effect effect = Effect::kAdded;
  std::optional<Hiding> hiding = {};   // of kHidden; of kReplaced where more went than the name
  const LayerEntry* before = nullptr;  // null: nothing
  const LayerEntry* after = nullptr;   // null: nothing
};

// Everything the layers have below a directory: its parts, and between them the moments when all
// that was there before went. In one layer that comes before the part. Both base first.
struct LayeredDirectory {
  struct Part {
    std::uint16_t layer = 0;
    MetadataIndex::Directory directory = MetadataIndex::kRoot;
  };
  struct Clearing {
    std::uint16_t layer = 0;
    Hiding by;
  };
  std::vector<Part> parts;
  std::vector<Clearing> clearings;
};

struct NameStory {
  std::vector<NameEvent> events;      // one for a layer at most, base first
  LayeredDirectory directory;         // of whatever directories were under this name
  const LayerEntry* shown = nullptr;  // in the end; null: nothing
};

// `found` are the entries of the name, base first, which the story points to; `clearings` are the
// parent's. `depth` is the name's own.
NameStory TellStory(std::span<const LayerEntry> found,
                    std::span<const LayeredDirectory::Clearing> clearings, std::uint32_t depth);

// ENOTSUP for what no image's layer has, but upper layers of mounts do: redirected directories and
// files without their data.
Result<LayerEntry> LoadEntry(LayerIndexes layers, std::uint16_t layer,
                             MetadataIndex::Number number);
// All layers' roots.
Result<std::vector<LayerEntry>> LoadRoots(LayerIndexes layers);
// What the parts have of a name.
Result<std::vector<LayerEntry>> FindEntries(LayerIndexes layers, const LayeredDirectory& directory,
                                            std::string_view name);
// Calls `each` with the entries of every name of the parts, sorted by name. What it is given ends
// with the call. Memory grows with the parts only.
Result<> ForEachName(LayerIndexes layers, const LayeredDirectory& directory,
                     const std::function<Result<>(std::span<const LayerEntry>)>& each);

}  // namespace strata::layerstore
