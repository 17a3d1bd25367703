// volume ls, create, inspect, rm and prune.
#include <nlohmann/json.hpp>

#include "base/try.h"
#include "manager/cli/command.h"
#include "manager/cli/confirm.h"
#include "manager/cli/filters.h"
#include "manager/cli/inspect.h"
#include "manager/cli/table.h"
#include "manager/cli/units.h"

namespace strata::manager::cli {
namespace {

using Kind = FlagSpec::Kind;

Json VolumeRow(const Json& volume) {
  Json row = Json::object();
  row["Driver"] = TextAt(volume, "Driver");
  row["Name"] = TextAt(volume, "Name");
  row["Mountpoint"] = TextAt(volume, "Mountpoint");
  row["Scope"] = TextAt(volume, "Scope");
  std::string labels;
  for (const auto& [key, value] : At(volume, "Labels").items()) {
    labels += (labels.empty() ? "" : ",") + key + "=" + Text(value);
  }
  row["Labels"] = std::move(labels);
  return row;
}

Result<int> RunList(Context& context, const Flags& flags) {
  STRATA_TRY_ASSIGN(const std::string filters, FiltersParameter(flags.List("filter")));
  STRATA_TRY_ASSIGN(Client * client, context.client());
  STRATA_TRY_ASSIGN(const Json answer, client->Get("/volumes" + Query({{"filters", filters}})));
  std::vector<Json> rows;
  for (const Json& volume : At(answer, "Volumes")) rows.push_back(VolumeRow(volume));
  const TableLook look{.titles = {{"Driver", "DRIVER"},
                                  {"Name", "VOLUME NAME"},
                                  {"Mountpoint", "MOUNTPOINT"},
                                  {"Scope", "SCOPE"},
                                  {"Labels", "LABELS"}},
                       .columns = "{{.Driver}}\t{{.Name}}",
                       .quiet_field = "Name"};
  STRATA_TRY_ASSIGN(const std::string text,
                    RenderRows(look, rows, flags.Value("format"), flags.On("quiet")));
  Print(text);
  return 0;
}

Result<int> RunCreate(Context& context, const Flags& flags) {
  Json body = Json::object();
  body["Name"] = flags.operands().empty() ? "" : flags.operands()[0];
  body["Labels"] = Json::object();
  for (const auto& label : flags.List("label")) {
    const auto equals = label.find('=');
    body["Labels"][label.substr(0, equals)] =
        equals == std::string::npos ? "" : label.substr(equals + 1);
  }
  STRATA_TRY_ASSIGN(Client * client, context.client());
  STRATA_TRY_ASSIGN(const Json volume, client->Post("/volumes/create", body));
  Print(TextAt(volume, "Name") + "\n");
  return 0;
}

Result<int> RunInspect(Context& context, const Flags& flags) {
  STRATA_TRY_ASSIGN(Client * client, context.client());
  return InspectObjects(*client, flags.operands(), {ObjectKind::kVolume}, flags.Value("format"));
}

Result<int> RunRemove(Context& context, const Flags& flags) {
  STRATA_TRY_ASSIGN(Client * client, context.client());
  const std::string query = Query({{"force", flags.On("force") ? "1" : ""}});
  return ForEachOperand(flags.operands(), [&](const std::string& name) -> Result<> {
    STRATA_TRY_ASSIGN(const Json answer, client->Delete("/volumes/" + PercentEncode(name) + query));
    Print(name + "\n");
    return {};
  });
}

Result<int> RunPrune(Context& context, const Flags& flags) {
  const bool all = flags.On("all");
  if (!flags.On("force")) {
    STRATA_TRY_ASSIGN(const bool yes,
                      Confirm(all ? "This removes every volume that no container uses."
                                  : "This removes every anonymous volume that no container uses."));
    if (!yes) return kExitFailed;
  }
  std::vector<std::string> filters = flags.List("filter");
  if (all) filters.emplace_back("all=true");
  STRATA_TRY_ASSIGN(const std::string parameter, FiltersParameter(filters));
  STRATA_TRY_ASSIGN(Client * client, context.client());
  STRATA_TRY_ASSIGN(const Json outcome,
                    client->Post("/volumes/prune" + Query({{"filters", parameter}})));
  for (const Json& name : At(outcome, "VolumesDeleted")) Print("Deleted: " + Text(name) + "\n");
  Print("Total reclaimed space: " + HumanSize(NumberAt(outcome, "SpaceReclaimed")) + "\n");
  return 0;
}

}  // namespace

std::vector<Command> VolumeCommands() {
  const FlagSpec filter{"filter", 0, Kind::kList, "KEY=VALUE", "only what matches"};
  return {
      {.name = "volume ls",
       .operands = "[OPTIONS]",
       .summary = "List volumes",
       .flags = {filter,
                 {"format", 0, Kind::kValue, "TEMPLATE", "table, json or a Go template"},
                 {"quiet", 'q', Kind::kSwitch, "", "show names only"}},
       .run = RunList},
      {.name = "volume create",
       .operands = "[OPTIONS] [NAME]",
       .summary = "Create a volume",
       .max_operands = 1,
       .flags = {{"label", 0, Kind::kList, "KEY[=VALUE]", "set a label"}},
       .run = RunCreate},
      {.name = "volume inspect",
       .operands = "[OPTIONS] VOLUME...",
       .summary = "Show everything about volumes",
       .min_operands = 1,
       .max_operands = kManyOperands,
       .operand_names = {Names::kVolume},
       .flags = {{"format", 'f', Kind::kValue, "TEMPLATE", "json or a Go template"}},
       .run = RunInspect},
      {.name = "volume rm",
       .operands = "[OPTIONS] VOLUME...",
       .summary = "Remove volumes with their content",
       .min_operands = 1,
       .max_operands = kManyOperands,
       .operand_names = {Names::kVolume},
       .flags = {{"force", 'f', Kind::kSwitch, "", "no error if there is none"}},
       .run = RunRemove},
      {.name = "volume prune",
       .operands = "[OPTIONS]",
       .summary = "Remove volumes that no container uses",
       .flags = {{"all", 'a', Kind::kSwitch, "", "named ones, too"},
                 filter,
                 {"force", 'f', Kind::kSwitch, "", "do not ask"}},
       .run = RunPrune},
  };
}

}  // namespace strata::manager::cli
