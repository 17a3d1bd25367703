// info, version, system df and events: the daemon itself.
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/try.h"
#include "manager/cli/command.h"
#include "manager/cli/filters.h"
#include "manager/cli/session.h"
#include "manager/cli/table.h"
#include "manager/cli/template.h"
#include "manager/cli/units.h"

namespace strata::manager::cli {
namespace {

using Kind = FlagSpec::Kind;

constexpr FlagSpec kFormat{"format", 'f', Kind::kValue, "TEMPLATE", "json or a Go template"};

Result<int> PrintFormatted(const Json& value, const std::string& format) {
  STRATA_TRY_ASSIGN(const Template shape,
                    Template::Parse(format == "json" ? "{{json .}}" : format));
  STRATA_TRY_ASSIGN(const std::string text, shape.Render(value));
  Print(text + "\n");
  return 0;
}

// "Key: value" lines for every plain member; objects and lists one level deeper.
void AppendTree(const Json& value, std::size_t depth, std::string& out) {
  const std::string indent(depth, ' ');
  for (const auto& [key, item] : value.items()) {
    if (item.is_null() || (item.is_structured() && item.empty())) continue;
    if (item.is_object()) {
      out += indent + key + ":\n";
      AppendTree(item, depth + 1, out);
    } else if (item.is_array()) {
      std::string list;
      for (const Json& element : item) {
        list +=
            (list.empty() ? "" : " ") + (element.is_string() ? Text(element) : DumpJson(element));
      }
      out += indent + key + ": " + list + "\n";
    } else {
      out += indent + key + ": " + (item.is_string() ? Text(item) : DumpJson(item)) + "\n";
    }
  }
}

// The members that are worth a screen, of the fifty that the API has.
constexpr const char* kInfoMembers[] = {"Containers",       "ContainersRunning",
                                        "ContainersPaused", "ContainersStopped",
                                        "Images",           "ServerVersion",
                                        "Driver",           "DriverStatus",
                                        "LoggingDriver",    "CgroupDriver",
                                        "CgroupVersion",    "DefaultRuntime",
                                        "KernelVersion",    "OperatingSystem",
                                        "Architecture",     "NCPU",
                                        "MemTotal",         "Name",
                                        "DockerRootDir",    "SecurityOptions",
                                        "Warnings"};

Result<int> RunInfo(Context& context, const Flags& flags) {
  STRATA_TRY_ASSIGN(Client * client, context.client());
  STRATA_TRY_ASSIGN(Json info, client->Get("/info"));
  // What only Strata has; another engine behind -H does not know the path.
  if (auto strata = client->Get("/strata/info")) info["Strata"] = *std::move(strata);
  if (flags.Has("format")) return PrintFormatted(info, flags.Value("format"));
  Json shown = Json::object();
  for (const char* member : kInfoMembers) {
    const Json& value = At(info, member);
    if (value.is_null()) continue;
    if (std::string_view(member) == "MemTotal") {
      shown[member] = HumanSize(Number(value));
    } else {
      shown[member] = value;
    }
  }
  shown["Strata"] = At(info, "Strata");
  std::string text;
  AppendTree(shown, 0, text);
  Print(text);
  return 0;
}

Result<int> RunVersion(Context& context, const Flags& flags) {
  Json version = Json::object();
  version["Client"] = {{"Version", STRATA_VERSION}, {"Os", "linux"}};
  STRATA_TRY_ASSIGN(Client * client, context.client());
  auto server = client->Get("/version");
  if (server) {
    for (const char* member :
         {"Version", "ApiVersion", "MinAPIVersion", "Os", "Arch", "KernelVersion", "Components"}) {
      if (!At(*server, member).is_null()) version["Server"][member] = At(*server, member);
    }
  }
  if (flags.Has("format")) {
    if (!server) version["Server"] = Json();
    STRATA_TRY(PrintFormatted(version, flags.Value("format")));
  } else {
    std::string text = "Client:\n Version: " + TextAt(version, "Client.Version") + "\n";
    if (server) {
      text += "Server:\n";
      version["Server"].erase("Components");
      AppendTree(version["Server"], 1, text);
      for (const Json& component : At(*server, "Components")) {
        text += " " + TextAt(component, "Name") + ": " + TextAt(component, "Version") + "\n";
      }
    }
    Print(text);
  }
  if (!server) return std::unexpected(std::move(server).error());
  return 0;
}

// One line of `system df`. `active` of `total` are in use; the rest's bytes can be had back.
Json UsageRow(const char* type, std::size_t total, std::size_t active, std::int64_t size,
              std::int64_t reclaimable) {
  Json row = Json::object();
  row["Type"] = type;
  row["TotalCount"] = std::to_string(total);
  row["Active"] = std::to_string(active);
  row["Size"] = HumanSize(size);
  const std::int64_t percent = size > 0 ? reclaimable * 100 / size : 0;
  row["Reclaimable"] = HumanSize(reclaimable) + " (" + std::to_string(percent) + "%)";
  return row;
}

Json ImagesUsage(const Json& usage) {
  const Json& images = At(usage, "Images");
  const std::int64_t size = NumberAt(usage, "LayersSize");
  std::size_t active = 0;
  std::int64_t used = 0;
  for (const Json& image : images) {
    if (NumberAt(image, "Containers") <= 0) continue;
    ++active;
    used += NumberAt(image, "Size") - std::max<std::int64_t>(NumberAt(image, "SharedSize"), 0);
  }
  // Docker does not tell; what its client makes of the sizes counts layers that a used image shares
  // with another as unused.
  const std::int64_t unused = Number(AtPath(usage, "Store.Unused"), size - used);
  return UsageRow("Images", images.size(), active, size, std::clamp<std::int64_t>(unused, 0, size));
}

Json ContainersUsage(const Json& usage) {
  const Json& containers = At(usage, "Containers");
  std::size_t active = 0;
  std::int64_t size = 0;
  std::int64_t reclaimable = 0;
  for (const Json& container : containers) {
    const std::int64_t own = NumberAt(container, "SizeRw");
    const std::string state = TextAt(container, "State");
    const bool runs = state == "running" || state == "paused" || state == "restarting";
    size += own;
    active += runs ? 1 : 0;
    reclaimable += runs ? 0 : own;
  }
  return UsageRow("Containers", containers.size(), active, size, reclaimable);
}

Json VolumesUsage(const Json& usage) {
  const Json& volumes = At(usage, "Volumes");
  std::size_t active = 0;
  std::int64_t size = 0;
  std::int64_t reclaimable = 0;
  for (const Json& volume : volumes) {
    const std::int64_t own = std::max<std::int64_t>(NumberAt(volume, "UsageData.Size"), 0);
    const bool used = NumberAt(volume, "UsageData.RefCount") > 0;
    size += own;
    active += used ? 1 : 0;
    reclaimable += used ? 0 : own;
  }
  return UsageRow("Local Volumes", volumes.size(), active, size, reclaimable);
}

// The line below the table, if the daemon tells; docker's does not.
std::string StoreUsage(const Json& usage) {
  if (AtPath(usage, "Store").is_null()) return {};
  const auto size = [&](const char* of) { return HumanSize(NumberAt(usage, of)); };
  return "\nLayers: " + std::to_string(NumberAt(usage, "Store.Layers")) + ", " +
         size("Store.Logical") + " of files and directories, " + size("Store.Shared") +
         " of it stored once for several layers: " + size("Store.Physical") +
         " on disk. Compressed forms: " + size("Store.Blobs") + "\n";
}

Result<int> RunDf(Context& context, const Flags& flags) {
  STRATA_TRY_ASSIGN(Client * client, context.client());
  STRATA_TRY_ASSIGN(const Json usage, client->Get("/system/df"));
  const TableLook look{
      .titles = {{"Type", "TYPE"},
                 {"TotalCount", "TOTAL"},
                 {"Active", "ACTIVE"},
                 {"Size", "SIZE"},
                 {"Reclaimable", "RECLAIMABLE"}},
      .columns = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
      .quiet_field = "Type"};
  const std::vector<Json> rows{ImagesUsage(usage), ContainersUsage(usage), VolumesUsage(usage)};
  STRATA_TRY_ASSIGN(const std::string text, RenderRows(look, rows, flags.Value("format"), false));
  Print(text + (flags.Value("format").empty() ? StoreUsage(usage) : ""));
  return 0;
}

// "2026-05-04T10:11:12+0000 container start ID (image=…, name=…)"
std::string EventLine(const Json& event) {
  std::string attributes;
  for (const auto& [key, value] : AtPath(event, "Actor.Attributes").items()) {
    attributes += (attributes.empty() ? "" : ", ") + key + "=" + Text(value);
  }
  return FullTime(NumberAt(event, "time")) + " " + TextAt(event, "Type") + " " +
         TextAt(event, "Action") + " " + TextAt(event, "Actor.ID") + " (" + attributes + ")";
}

Result<int> RunEvents(Context& context, const Flags& flags) {
  std::string since = flags.Value("since");
  std::string until = flags.Value("until");
  for (std::string* time : {&since, &until}) {
    if (time->empty()) continue;
    STRATA_TRY_ASSIGN(*time, TimeArgument(*time));
  }
  STRATA_TRY_ASSIGN(const std::string filters, FiltersParameter(flags.List("filter")));
  const std::string format = flags.Value("format");
  STRATA_TRY_ASSIGN(const Template shape,
                    Template::Parse(format == "json" ? "{{json .}}" : format));
  STRATA_TRY_ASSIGN(Client * client, context.client());
  HttpRequest request;
  request.target = "/events" + Query({{"since", since}, {"until", until}, {"filters", filters}});
  STRATA_TRY_ASSIGN(HttpExchange answer, client->Start(request));
  std::string buffered;
  std::vector<char> piece(32UL * 1024);
  while (true) {
    STRATA_TRY_ASSIGN(const std::size_t got, answer.Read(piece));
    if (got == 0) return 0;
    buffered.append(piece.data(), got);
    for (auto end = buffered.find('\n'); end != std::string::npos; end = buffered.find('\n')) {
      STRATA_TRY_ASSIGN(const Json event, ParseJson(std::string_view(buffered).substr(0, end)));
      buffered.erase(0, end + 1);
      STRATA_TRY_ASSIGN(const std::string text, format.empty()
                                                    ? Result<std::string>(EventLine(event))
                                                    : shape.Render(event));
      STRATA_TRY(WriteFd(STDOUT_FILENO, text + "\n"));
    }
  }
}

}  // namespace

std::vector<Command> SystemCommands() {
  return {
      {.name = "info",
       .operands = "[OPTIONS]",
       .summary = "Show the daemon's state",
       .flags = {kFormat},
       .run = RunInfo},
      {.name = "version",
       .operands = "[OPTIONS]",
       .summary = "Show the versions of client and daemon",
       .flags = {kFormat},
       .run = RunVersion},
      {.name = "events",
       .operands = "[OPTIONS]",
       .summary = "Show what happens, as it happens",
       .flags = {{"filter", 'f', Kind::kList, "KEY=VALUE", "only what matches"},
                 {"format", 0, Kind::kValue, "TEMPLATE", "json or a Go template"},
                 {"since", 0, Kind::kValue, "TIME", "from a time or a duration ago (10m) on"},
                 {"until", 0, Kind::kValue, "TIME", "up to a time"}},
       .run = RunEvents},
      {.name = "system df",
       .operands = "[OPTIONS]",
       .summary = "Show what takes space on disk",
       .flags = {{"format", 0, Kind::kValue, "TEMPLATE", "table, json or a Go template"}},
       .run = RunDf},
  };
}

}  // namespace strata::manager::cli
