// /strata/images/NAME/explore: an image layer by layer. Layers are numbered from 1, the base.
#include <algorithm>
#include <limits>

#include "base/try.h"
#include "manager/api/api.h"
#include "manager/api/replies.h"
#include "manager/api/router.h"
#include "manager/image/image_service.h"

namespace strata::manager {
namespace {

using layerstore::Cause;
using layerstore::Difference;
using layerstore::Effect;
using layerstore::HistoryEntry;
using layerstore::ImageDetail;
using layerstore::WastedFile;
using nlohmann::json;

const char* Word(WastedFile::How how) {
  switch (how) {
    case WastedFile::How::kHidden:
      return "hidden";
    case WastedFile::How::kReplaced:
      return "replaced";
    case WastedFile::How::kNewMetadata:
      return "metadata";
    case WastedFile::How::kUnchanged:
      break;
  }
  return "unchanged";
}

const char* Word(Effect effect) {
  switch (effect) {
    case Effect::kAdded:
      return "added";
    case Effect::kReplaced:
      return "replaced";
    case Effect::kMerged:
      return "merged";
    case Effect::kHidden:
      break;
  }
  return "hidden";
}

const char* Word(Difference difference) {
  switch (difference) {
    case Difference::kNone:
      return "none";
    case Difference::kMetadata:
      return "metadata";
    case Difference::kContent:
      return "content";
    case Difference::kType:
      break;
  }
  return "type";
}

const char* Word(Cause cause) {
  switch (cause) {
    case Cause::kWhiteout:
      return "whiteout";
    case Cause::kOpaque:
      return "opaque";
    case Cause::kNotDirectory:
      break;
  }
  return "not-directory";
}

const char* TypeWord(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return "file";
    case S_IFDIR:
      return "directory";
    case S_IFLNK:
      return "symlink";
    case S_IFCHR:
      return "char device";
    case S_IFBLK:
      return "block device";
    case S_IFIFO:
      return "fifo";
    default:
      return "socket";
  }
}

json LayerNumber(std::optional<std::uint16_t> layer) {
  return layer ? json(*layer + 1) : json(nullptr);
}

// What is said of a layer wherever one is named: its number and digest and, where the history has a
// step for each layer, that step.
class LayerNames {
 public:
  explicit LayerNames(const ImageDetail& detail) : diff_ids_(detail.image.diff_ids) {
    for (const HistoryEntry& entry : detail.config.history) {
      if (!entry.empty_layer) steps_.push_back(&entry);
    }
    if (steps_.size() != diff_ids_.size()) steps_.clear();
  }

  json Of(std::size_t layer) const {
    json named{{"Layer", layer + 1}, {"Digest", diff_ids_[layer].ToString()}};
    const HistoryEntry* step = steps_.empty() ? nullptr : steps_[layer];
    named["Created"] = step == nullptr ? "" : step->created;
    named["CreatedBy"] = step == nullptr ? "" : step->created_by;
    named["Comment"] = step == nullptr ? "" : step->comment;
    return named;
  }

 private:
  const std::vector<Digest>& diff_ids_;
  std::vector<const HistoryEntry*> steps_;
};

json LayersJson(const ExploredImage& image) {
  const LayerNames names(image.detail);
  json list = json::array();
  for (std::size_t i = 0; i < image.report.layers.size(); ++i) {
    const layerstore::LayerReport& layer = image.report.layers[i];
    json row = names.Of(i);
    row.update({{"Entries", layer.entries},
                {"Whiteouts", layer.whiteouts},
                {"Added", layer.added},
                {"Replaced", layer.replaced},
                {"Unchanged", layer.unchanged},
                {"Merged", layer.merged},
                {"Hidden", layer.hidden},
                {"Size", layer.size},
                {"Wasted", layer.wasted}});
    list.push_back(std::move(row));
  }
  return list;
}

json LargestJson(const std::vector<WastedFile>& files) {
  json list = json::array();
  for (const WastedFile& file : files) {
    list.push_back({{"Path", file.path},
                    {"Size", file.size},
                    {"Layer", LayerNumber(file.layer)},
                    {"HiddenBy", LayerNumber(file.hidden_by)},
                    {"How", Word(file.how)}});
  }
  return list;
}

// How many wasted files are asked for; a negative number is all.
Result<std::size_t> LargestWanted(const HttpRequest& request) {
  STRATA_TRY_ASSIGN(const std::int64_t wanted, request.QueryInt("largest", 0));
  return wanted < 0 ? std::numeric_limits<std::size_t>::max() : static_cast<std::size_t>(wanted);
}

Result<> Explore(Exchange& exchange, const ApiContext& context, const std::string& name) {
  STRATA_TRY_ASSIGN(const std::size_t largest, LargestWanted(exchange.request()));
  STRATA_TRY_ASSIGN(const ExploredImage image, context.images.Explore(name, {.largest = largest}));
  return ReplyJson(exchange, 200,
                   {{"Id", image.detail.image.id.ToString()},
                    {"Layers", LayersJson(image)},
                    {"Size", image.report.size},
                    {"Wasted", image.report.wasted},
                    {"WastedOnDisk", image.report.wasted_on_disk},
                    {"WastedFiles", image.report.wasted_files},
                    {"Largest", LargestJson(image.report.largest)}});
}

json AttributesJson(const struct stat& attr) {
  return {{"Type", TypeWord(attr.st_mode)},
          {"Mode", attr.st_mode & 07777U},
          {"Uid", attr.st_uid},
          {"Gid", attr.st_gid},
          {"Size", S_ISREG(attr.st_mode) ? attr.st_size : 0},
          {"Modified", attr.st_mtim.tv_sec}};
}

json EventsJson(const ExploredPath& path) {
  const LayerNames names(path.detail);
  json list = json::array();
  for (const layerstore::PathEvent& event : path.history.events) {
    json row = names.Of(event.layer);
    row["Effect"] = Word(event.effect);
    if (event.difference) row["Difference"] = Word(*event.difference);
    if (event.cause) row.update({{"Cause", Word(*event.cause)}, {"Culprit", event.culprit}});
    if (event.effect != Effect::kHidden) row.update(AttributesJson(event.attr));
    if (!event.target.empty()) row["Target"] = event.target;
    list.push_back(std::move(row));
  }
  return list;
}

json ChildrenJson(const layerstore::PathHistory& history) {
  if (!history.is_directory) return nullptr;
  json list = json::array();
  for (const layerstore::ChildHistory& child : history.children) {
    json row = AttributesJson(child.attr);
    row.update({{"Name", child.name},
                {"AddedBy", LayerNumber(child.added_by)},
                {"ReplacedBy", LayerNumber(child.replaced_by)},
                {"HiddenBy", LayerNumber(child.hidden_by)}});
    list.push_back(std::move(row));
  }
  return list;
}

Result<> ExplorePath(Exchange& exchange, const ApiContext& context, const std::string& name) {
  const HttpRequest& request = exchange.request();
  if (!request.HasQuery("path")) return Fail(EINVAL, "explore", "no path given");
  STRATA_TRY_ASSIGN(const ExploredPath path,
                    context.images.ExplorePath(name, request.Query("path")));
  return ReplyJson(exchange, 200,
                   {{"Id", path.detail.image.id.ToString()},
                    {"Path", path.history.path},
                    {"Visible", path.history.shows()},
                    {"Events", EventsJson(path)},
                    {"Children", ChildrenJson(path.history)}});
}

}  // namespace

void AddExploreRoutes(Router& router, const ApiContext& context) {
  router.Add("GET", "/strata/images/{name...}/explore",
             [&context](Exchange& e, const RouteParameters& p) {
               return Explore(e, context, p.at("name"));
             });
  router.Add("GET", "/strata/images/{name...}/explore/path",
             [&context](Exchange& e, const RouteParameters& p) {
               return ExplorePath(e, context, p.at("name"));
             });
}

}  // namespace strata::manager
