// What the layers of an image did to one path.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "layerstore/explore/difference.h"
#include "layerstore/explore/name_story.h"

namespace strata::layerstore {

// What a layer did to the path. Layers count from 0, the base.
struct PathEvent {
  std::uint16_t layer = 0;
  Effect effect = Effect::kAdded;
  std::optional<Difference> difference =
      {};                           // of kReplaced and kMerged: against what was there before
  std::optional<Cause> cause = {};  // see NameEvent::hiding
  std::string culprit = {};         // with a cause: the path that did it, this one or one above
  struct stat attr = {};            // of what is there now, as the index has it; not of kHidden
  std::string target = {};          // of a symbolic link
};

// A name in a directory that shows.
struct ChildHistory {
  std::string name;
  struct stat attr = {};                          // of what shows, or was hidden last
  std::uint16_t added_by = 0;                     // the layer since which the name is there
  std::optional<std::uint16_t> replaced_by = {};  // the last that replaced it since; not a merge
  std::optional<std::uint16_t> hidden_by = {};    // it does not show
};

struct PathHistory {
  std::string path;                    // absolute, in its shortest form
  std::vector<PathEvent> events = {};  // base first, at least one; the last says whether it shows
  bool is_directory = false;           // what shows in the end is one
  std::vector<ChildHistory> children = {};  // of that, sorted by name; hidden ones, too

  bool shows() const { return events.back().effect != Effect::kHidden; }
};

// `path` is from the image's root, with or without a slash in front; symbolic links are not
// followed. Costs as many look-ups as the path has names, in each layer. EINVAL for "..", and as
// ReportLayers(); ENOENT for what no layer has.
Result<PathHistory> TracePath(LayerIndexes layers, std::string_view path);

}  // namespace strata::layerstore
