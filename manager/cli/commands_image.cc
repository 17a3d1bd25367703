// images, rmi, tag and their `image …` forms.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/try.h"
#include "manager/cli/command.h"
#include "manager/cli/confirm.h"
#include "manager/cli/deletions.h"
#include "manager/cli/filters.h"
#include "manager/cli/image_text.h"
#include "manager/cli/inspect.h"
#include "manager/cli/reference.h"
#include "manager/cli/table.h"
#include "manager/cli/units.h"

namespace strata::manager::cli {
namespace {

using Kind = FlagSpec::Kind;

constexpr std::string_view kNone = "<none>";

// Names of images go into paths with their slashes.
std::string ImagePath(const std::string& name) { return "/images/" + PercentEncode(name, "/:"); }

Json ImageRow(const Json& image, const std::string& repository, const std::string& tag,
              const std::string& digest, bool whole) {
  Json row = Json::object();
  row["Repository"] = repository;
  row["Tag"] = tag;
  row["Digest"] = digest;
  row["ID"] = ShortId(TextAt(image, "Id"), whole);
  row["CreatedAt"] = FullTime(NumberAt(image, "Created"));
  row["CreatedSince"] = Ago(NumberAt(image, "Created"));
  row["Size"] = HumanSize(NumberAt(image, "Size"));
  const std::int64_t containers = Number(At(image, "Containers"), -1);
  row["Containers"] = containers < 0 ? "N/A" : std::to_string(containers);
  return row;
}

// The digest under which a repository has this image.
std::string DigestIn(const Json& image, const std::string& repository) {
  for (const Json& entry : At(image, "RepoDigests")) {
    const ImageName name = SplitReference(Text(entry));
    if (name.name == repository) return name.tag;
  }
  return std::string(kNone);
}

// One row for each name of an image, or one row without a name.
void AddImageRows(const Json& image, bool whole, std::vector<Json>& rows) {
  bool named = false;
  for (const Json& entry : At(image, "RepoTags")) {
    const ImageName name = SplitReference(Text(entry));
    if (name.name == kNone) continue;
    named = true;
    rows.push_back(ImageRow(image, name.name, name.tag, DigestIn(image, name.name), whole));
  }
  if (named) return;
  std::string repository(kNone);
  std::string digest(kNone);
  for (const Json& entry : At(image, "RepoDigests")) {
    const ImageName name = SplitReference(Text(entry));
    if (name.name == kNone) continue;
    repository = name.name;
    digest = name.tag;
    break;
  }
  rows.push_back(ImageRow(image, repository, std::string(kNone), digest, whole));
}

TableLook ImageLook(bool digests) {
  return {.titles = {{"Repository", "REPOSITORY"},
                     {"Tag", "TAG"},
                     {"Digest", "DIGEST"},
                     {"ID", "IMAGE ID"},
                     {"CreatedAt", "CREATED AT"},
                     {"CreatedSince", "CREATED"},
                     {"Size", "SIZE"},
                     {"Containers", "CONTAINERS"}},
          .columns = digests
                         ? "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t"
                           "{{.Size}}"
                         : "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
          .quiet_field = "ID"};
}

Result<int> RunImages(Context& context, const Flags& flags) {
  std::vector<std::string> filters = flags.List("filter");
  if (!flags.operands().empty()) filters.push_back("reference=" + flags.operands()[0]);
  STRATA_TRY_ASSIGN(const std::string parameter, FiltersParameter(filters));
  STRATA_TRY_ASSIGN(Client * client, context.client());
  STRATA_TRY_ASSIGN(const Json images,
                    client->Get("/images/json" + Query({{"all", flags.On("all") ? "1" : ""},
                                                        {"filters", parameter}})));
  std::vector<Json> rows;
  for (const Json& image : images) AddImageRows(image, flags.On("no-trunc"), rows);
  if (flags.On("quiet")) {  // an image with two names is one image
    const auto same = [](const Json& a, const Json& b) { return a["ID"] == b["ID"]; };
    rows.erase(std::unique(rows.begin(), rows.end(), same), rows.end());
  }
  STRATA_TRY_ASSIGN(const std::string text, RenderRows(ImageLook(flags.On("digests")), rows,
                                                       flags.Value("format"), flags.On("quiet")));
  Print(text);
  return 0;
}

Result<int> RunRmi(Context& context, const Flags& flags) {
  STRATA_TRY_ASSIGN(Client * client, context.client());
  return ForEachOperand(flags.operands(), [&](const std::string& name) -> Result<> {
    const std::string query = Query({{"force", flags.On("force") ? "1" : ""}});
    STRATA_TRY_ASSIGN(const Json deletions, client->Delete(ImagePath(name) + query));
    PrintDeletions(deletions);
    return {};
  });
}

Result<int> RunTag(Context& context, const Flags& flags) {
  const ImageName target = SplitReference(flags.operands()[1]);
  STRATA_TRY_ASSIGN(Client * client, context.client());
  STRATA_TRY_ASSIGN(const Json answer,
                    client->Post(ImagePath(flags.operands()[0]) + "/tag" +
                                 Query({{"repo", target.name},
                                        {"tag", target.tag.empty() ? "latest" : target.tag}})));
  return 0;
}

Result<int> RunPrune(Context& context, const Flags& flags) {
  const bool all = flags.On("all");
  if (!flags.On("force")) {
    STRATA_TRY_ASSIGN(const bool yes,
                      Confirm(all ? "This removes every image that no container uses."
                                  : "This removes every image without a name."));
    if (!yes) return kExitFailed;
  }
  std::vector<std::string> filters = flags.List("filter");
  filters.push_back(all ? "dangling=false" : "dangling=true");
  STRATA_TRY_ASSIGN(const std::string parameter, FiltersParameter(filters));
  STRATA_TRY_ASSIGN(Client * client, context.client());
  STRATA_TRY_ASSIGN(const Json outcome,
                    client->Post("/images/prune" + Query({{"filters", parameter}})));
  PrintDeletions(At(outcome, "ImagesDeleted"));
  Print("Total reclaimed space: " + HumanSize(NumberAt(outcome, "SpaceReclaimed")) + "\n");
  return 0;
}

Result<int> RunImageInspect(Context& context, const Flags& flags) {
  STRATA_TRY_ASSIGN(Client * client, context.client());
  return InspectObjects(*client, flags.operands(), {ObjectKind::kImage}, flags.Value("format"));
}

Json HistoryRow(const Json& step, bool whole) {
  Json row = Json::object();
  const std::string id = TextAt(step, "Id");
  row["ID"] = id == "<missing>" ? id : ShortId(id, whole);
  row["CreatedSince"] = Ago(NumberAt(step, "Created"));
  row["CreatedAt"] = FullTime(NumberAt(step, "Created"));
  row["CreatedBy"] = ShortCommand(TextAt(step, "CreatedBy"), whole);
  row["Size"] = HumanSize(NumberAt(step, "Size"));
  row["Comment"] = TextAt(step, "Comment");
  return row;
}

Result<int> RunHistory(Context& context, const Flags& flags) {
  STRATA_TRY_ASSIGN(Client * client, context.client());
  STRATA_TRY_ASSIGN(const Json history, client->Get(ImagePath(flags.operands()[0]) + "/history"));
  std::vector<Json> rows;
  for (const Json& step : history) rows.push_back(HistoryRow(step, flags.On("no-trunc")));
  const TableLook look{
      .titles = {{"ID", "IMAGE"},
                 {"CreatedSince", "CREATED"},
                 {"CreatedAt", "CREATED AT"},
                 {"CreatedBy", "CREATED BY"},
                 {"Size", "SIZE"},
                 {"Comment", "COMMENT"}},
      .columns = "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
      .quiet_field = "ID"};
  STRATA_TRY_ASSIGN(const std::string text,
                    RenderRows(look, rows, flags.Value("format"), flags.On("quiet")));
  Print(text);
  return 0;
}

Command Renamed(Command command, const char* name) {
  command.name = name;
  return command;
}

}  // namespace

std::vector<Command> ImageCommands() {
  const FlagSpec filter{"filter", 0, Kind::kList, "KEY=VALUE", "show only what matches"};
  const FlagSpec format{"format", 0, Kind::kValue, "TEMPLATE", "table, json or a Go template"};
  const Command images{
      .name = "images",
      .operands = "[OPTIONS] [NAME[:TAG]]",
      .summary = "List images",
      .max_operands = 1,
      .operand_names = {Names::kImage},
      .flags = {{"all", 'a', Kind::kSwitch, "", "intermediate images, too"},
                {"digests", 0, Kind::kSwitch, "", "show digests"},
                {"filter", 'f', Kind::kList, "KEY=VALUE", "show only what matches"},
                format,
                {"no-trunc", 0, Kind::kSwitch, "", "show whole ids"},
                {"quiet", 'q', Kind::kSwitch, "", "show ids only"}},
      .run = RunImages};
  const Command rmi{.name = "rmi",
                    .operands = "[OPTIONS] IMAGE...",
                    .summary = "Remove images",
                    .min_operands = 1,
                    .max_operands = kManyOperands,
                    .operand_names = {Names::kImage},
                    .flags = {{"force", 'f', Kind::kSwitch, "",
                               "even if it has several names, or containers that do not run"}},
                    .run = RunRmi};
  const Command tag{.name = "tag",
                    .operands = "IMAGE NAME[:TAG]",
                    .summary = "Give an image another name",
                    .min_operands = 2,
                    .max_operands = 2,
                    .operand_names = {Names::kImage},
                    .run = RunTag};
  const Command history{.name = "history",
                        .operands = "[OPTIONS] IMAGE",
                        .summary = "Show how an image was made",
                        .min_operands = 1,
                        .max_operands = 1,
                        .operand_names = {Names::kImage},
                        .flags = {format,
                                  {"no-trunc", 0, Kind::kSwitch, "", "show whole ids and commands"},
                                  {"quiet", 'q', Kind::kSwitch, "", "show ids only"}},
                        .run = RunHistory};
  return {
      images,
      rmi,
      tag,
      history,
      Renamed(images, "image ls"),
      Renamed(rmi, "image rm"),
      Renamed(tag, "image tag"),
      Renamed(history, "image history"),
      {.name = "image inspect",
       .operands = "[OPTIONS] IMAGE...",
       .summary = "Show everything about images",
       .min_operands = 1,
       .max_operands = kManyOperands,
       .operand_names = {Names::kImage},
       .flags = {{"format", 'f', Kind::kValue, "TEMPLATE", "json or a Go template"}},
       .run = RunImageInspect},
      {.name = "image prune",
       .operands = "[OPTIONS]",
       .summary = "Remove images that are not used",
       .flags = {{"all", 'a', Kind::kSwitch, "", "named ones that no container uses, too"},
                 filter,
                 {"force", 'f', Kind::kSwitch, "", "do not ask"}},
       .run = RunPrune},
      ExploreCommand(),
  };
}

}  // namespace strata::manager::cli
