#include "layerstore/explore/path_history.h"

#include <algorithm>
#include <utility>

#include "base/path.h"
#include "base/try.h"

namespace strata::layerstore {
namespace {

Result<std::vector<std::string>> Components(std::string_view path) {
  std::vector<std::string> components;
  while (!path.empty()) {
    const std::size_t slash = std::min(path.find('/'), path.size());
    const std::string_view name = path.substr(0, slash);
    path.remove_prefix(std::min(slash + 1, path.size()));
    if (name.empty() || name == ".") continue;
    if (!PathComponent::Valid(name)) {
      return Fail(EINVAL, "explore", "a path in an image has no \"" + std::string(name) + "\"");
    }
    components.emplace_back(name);
  }
  return components;
}

std::string FirstOf(const std::vector<std::string>& components, std::size_t count) {
  std::string path = "/";
  for (std::size_t i = 0; i < count; ++i) path = JoinPath(path, components[i]);
  return path;
}

PathEvent Describe(const NameEvent& event, const std::vector<std::string>& components) {
  PathEvent described{.layer = event.layer, .effect = event.effect};
  if (event.before != nullptr && event.after != nullptr) {
    described.difference = CompareEntries(event.before->entry, event.after->entry);
  }
  if (event.hiding) {
    described.cause = event.hiding->cause;
    described.culprit = FirstOf(components, event.hiding->depth);
  }
  if (event.after != nullptr) {
    described.attr = event.after->entry.attr;
    described.target = event.after->entry.target;
  }
  return described;
}

ChildHistory DescribeChild(std::string_view name, const NameStory& story) {
  ChildHistory child{.name = std::string(name)};
  for (const NameEvent& event : story.events) {
    child.hidden_by = std::nullopt;
    switch (event.effect) {
      case Effect::kAdded:
        child.added_by = event.layer;
        child.replaced_by = std::nullopt;
        break;
      case Effect::kReplaced:
        child.replaced_by = event.layer;
        break;
      case Effect::kMerged:
        break;
      case Effect::kHidden:
        child.hidden_by = event.layer;
        break;
    }
    child.attr = (event.after != nullptr ? event.after : event.before)->entry.attr;
  }
  return child;
}

Result<std::vector<ChildHistory>> ListChildren(LayerIndexes layers,
                                               const LayeredDirectory& directory,
                                               std::uint32_t depth) {
  std::vector<ChildHistory> children;
  STRATA_TRY(ForEachName(layers, directory, [&](std::span<const LayerEntry> found) -> Result<> {
    const NameStory story = TellStory(found, directory.clearings, depth);
    if (!story.events.empty()) {
      children.push_back(DescribeChild(found.front().entry.name, story));
    }
    return {};
  }));
  return children;
}

// `link` is the first symbolic link on the way that shows; "" if there is none.
std::unexpected<Error> NotThere(const std::string& path, const std::string& link) {
  return Fail(ENOENT, "explore",
              "no layer has \"" + path + "\"" + (link.empty() ? "" : "; " + link));
}

}  // namespace

Result<PathHistory> TracePath(LayerIndexes layers, std::string_view path) {
  STRATA_TRY(CheckLayerCount(layers));
  STRATA_TRY_ASSIGN(const std::vector<std::string> components, Components(path));
  PathHistory history{.path = FirstOf(components, components.size())};
  STRATA_TRY_ASSIGN(std::vector<LayerEntry> found, LoadRoots(layers));
  NameStory story = TellStory(found, {}, 0);
  std::string link;
  std::uint32_t depth = 0;
  for (const std::string& name : components) {
    const LayeredDirectory parent = std::move(story.directory);
    STRATA_TRY_ASSIGN(found, FindEntries(layers, parent, name));
    story = TellStory(found, parent.clearings, ++depth);
    if (story.events.empty()) return NotThere(history.path, link);
    if (link.empty() && story.shown != nullptr && S_ISLNK(story.shown->entry.attr.st_mode)) {
      link = "\"" + FirstOf(components, depth) + "\" is a symbolic link to \"" +
             std::string(story.shown->entry.target) + "\"";
    }
  }
  if (story.events.empty()) return NotThere(history.path, link);  // the root of no layers
  for (const NameEvent& event : story.events) {
    history.events.push_back(Describe(event, components));
  }
  history.is_directory = story.shown != nullptr && story.shown->entry.directory.has_value();
  if (history.is_directory) {
    STRATA_TRY_ASSIGN(history.children, ListChildren(layers, story.directory, depth + 1));
  }
  return history;
}

}  // namespace strata::layerstore
