// Looking at containers and managing them: ps, logs, stop, kill, pause, rm, …
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/try.h"
#include "manager/cli/command.h"
#include "manager/cli/filters.h"
#include "manager/cli/inspect.h"
#include "manager/cli/session.h"
#include "manager/cli/stdcopy.h"
#include "manager/cli/table.h"
#include "manager/cli/units.h"

namespace strata::manager::cli {
namespace {

using Kind = FlagSpec::Kind;

std::string JoinList(const std::vector<std::string>& items, std::string_view separator) {
  std::string text;
  for (const auto& item : items) text += (text.empty() ? "" : std::string(separator)) + item;
  return text;
}

// Names come with a slash in front; a linked container's alias has another one.
std::string NamesText(const Json& names) {
  std::vector<std::string> list;
  for (const Json& name : names) {
    std::string text = Text(name);
    if (text.starts_with('/')) text.erase(0, 1);
    if (text.find('/') == std::string::npos) list.push_back(std::move(text));
  }
  return JoinList(list, ",");
}

std::string PortsText(const Json& ports) {
  std::vector<std::string> list;
  for (const Json& port : ports) {
    const std::string inside =
        std::to_string(NumberAt(port, "PrivatePort")) + "/" + TextAt(port, "Type");
    const std::int64_t outside = NumberAt(port, "PublicPort");
    list.push_back(
        outside == 0 ? inside : TextAt(port, "IP") + ":" + std::to_string(outside) + "->" + inside);
  }
  return JoinList(list, ", ");
}

std::string LabelsText(const Json& labels) {
  std::vector<std::string> list;
  for (const auto& [key, value] : labels.items()) list.push_back(key + "=" + Text(value));
  return JoinList(list, ",");
}

std::string Quoted(std::string text, bool whole) {
  constexpr std::size_t kShown = 20;
  if (!whole && text.size() > kShown) text = text.substr(0, kShown - 1) + "…";
  return DumpJson(Json(text));
}

Json ContainerRow(const Json& container, bool whole) {
  Json row = Json::object();
  const std::string id = TextAt(container, "Id");
  row["ID"] = whole ? id : id.substr(0, 12);
  std::string image = TextAt(container, "Image");
  if (!whole && image.starts_with("sha256:")) image = image.substr(7, 12);
  row["Image"] = std::move(image);
  row["Command"] = Quoted(TextAt(container, "Command"), whole);
  row["CreatedAt"] = FullTime(NumberAt(container, "Created"));
  row["RunningFor"] = Ago(NumberAt(container, "Created"));
  row["State"] = TextAt(container, "State");
  row["Status"] = TextAt(container, "Status");
  row["Ports"] = PortsText(At(container, "Ports"));
  row["Names"] = NamesText(At(container, "Names"));
  row["Labels"] = LabelsText(At(container, "Labels"));
  std::vector<std::string> mounts;
  for (const Json& mount : At(container, "Mounts")) {
    const std::string name = TextAt(mount, "Name");
    mounts.push_back(name.empty() ? TextAt(mount, "Source") : name);
  }
  row["Mounts"] = JoinList(mounts, ",");
  std::vector<std::string> networks;
  for (const auto& [name, network] : AtPath(container, "NetworkSettings.Networks").items()) {
    networks.push_back(name);
  }
  row["Networks"] = JoinList(networks, ",");
  std::string size = HumanSize(NumberAt(container, "SizeRw"));
  if (At(container, "SizeRootFs").is_number()) {
    size += " (virtual " + HumanSize(NumberAt(container, "SizeRootFs")) + ")";
  }
  row["Size"] = std::move(size);
  return row;
}

TableLook ContainerLook(bool size) {
  return {.titles = {{"ID", "CONTAINER ID"},
                     {"Image", "IMAGE"},
                     {"Command", "COMMAND"},
                     {"CreatedAt", "CREATED AT"},
                     {"RunningFor", "CREATED"},
                     {"State", "STATE"},
                     {"Status", "STATUS"},
                     {"Ports", "PORTS"},
                     {"Names", "NAMES"},
                     {"Labels", "LABELS"},
                     {"Mounts", "MOUNTS"},
                     {"Networks", "NETWORKS"},
                     {"Size", "SIZE"}},
          .columns = size ? "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t"
                            "{{.Ports}}\t{{.Names}}\t{{.Size}}"
                          : "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t"
                            "{{.Ports}}\t{{.Names}}",
          .quiet_field = "ID"};
}

Result<int> RunPs(Context& context, const Flags& flags) {
  std::string limit = flags.Value("last");
  if (!limit.empty()) STRATA_TRY(ParseNumber("last", limit));
  if (flags.On("latest")) limit = "1";
  STRATA_TRY_ASSIGN(const std::string filters, FiltersParameter(flags.List("filter")));
  const bool size = flags.On("size") || flags.Value("format").find(".Size") != std::string::npos;
  STRATA_TRY_ASSIGN(Client * client, context.client());
  STRATA_TRY_ASSIGN(const Json containers,
                    client->Get("/containers/json" + Query({{"all", flags.On("all") ? "1" : ""},
                                                            {"limit", limit},
                                                            {"size", size ? "1" : ""},
                                                            {"filters", filters}})));
  std::vector<Json> rows;
  for (const Json& container : containers) {
    rows.push_back(ContainerRow(container, flags.On("no-trunc")));
  }
  STRATA_TRY_ASSIGN(const std::string text, RenderRows(ContainerLook(flags.On("size")), rows,
                                                       flags.Value("format"), flags.On("quiet")));
  Print(text);
  return 0;
}

Result<int> RunLogs(Context& context, const Flags& flags) {
  const std::string path = ContainerPath(flags.operands()[0]);
  std::string since = flags.Value("since");
  std::string until = flags.Value("until");
  for (std::string* time : {&since, &until}) {
    if (time->empty()) continue;
    STRATA_TRY_ASSIGN(*time, TimeArgument(*time));
  }
  STRATA_TRY_ASSIGN(Client * client, context.client());
  STRATA_TRY_ASSIGN(const Json container, client->Get(path + "/json"));
  HttpRequest request;
  request.target = path + "/logs" +
                   Query({{"stdout", "1"},
                          {"stderr", "1"},
                          {"follow", flags.On("follow") ? "1" : ""},
                          {"timestamps", flags.On("timestamps") ? "1" : ""},
                          {"since", since},
                          {"until", until},
                          {"tail", flags.Value("tail")}});
  STRATA_TRY_ASSIGN(HttpExchange answer, client->Start(request));
  const bool framed = !TruthAt(container, "Config.Tty");
  StreamDemuxer demuxer([](StreamDemuxer::Stream stream, std::string_view data) {
    return WriteFd(stream == StreamDemuxer::Stream::kStderr ? STDERR_FILENO : STDOUT_FILENO, data);
  });
  std::vector<char> piece(32UL * 1024);
  while (true) {
    STRATA_TRY_ASSIGN(const std::size_t got, answer.Read(piece));
    if (got == 0) return 0;
    const std::string_view data(piece.data(), got);
    STRATA_TRY(framed ? demuxer.Feed(data) : WriteFd(STDOUT_FILENO, data));
  }
}

// POST /containers/NAME/ACTION for each, printing the names. `idle` says that 304 is fine: it was
// so already.
Result<int> PostEach(Context& context, const Flags& flags, const std::string& action) {
  STRATA_TRY_ASSIGN(Client * client, context.client());
  return ForEachOperand(flags.operands(), [&](const std::string& name) -> Result<> {
    auto answer = client->Post(ContainerPath(name) + action);
    if (!answer && answer.error().code() != EALREADY) {
      return std::unexpected(std::move(answer).error());
    }
    Print(name + "\n");
    return {};
  });
}

Result<int> RunStopLike(Context& context, const Flags& flags, const std::string& action) {
  const std::string seconds = flags.Value("time");
  if (!seconds.empty()) STRATA_TRY(ParseNumber("time", seconds));
  return PostEach(context, flags,
                  action + Query({{"t", seconds}, {"signal", flags.Value("signal")}}));
}

Result<int> RunStop(Context& context, const Flags& flags) {
  return RunStopLike(context, flags, "/stop");
}
Result<int> RunRestart(Context& context, const Flags& flags) {
  return RunStopLike(context, flags, "/restart");
}
Result<int> RunKill(Context& context, const Flags& flags) {
  return PostEach(context, flags, "/kill" + Query({{"signal", flags.Value("signal", "KILL")}}));
}
Result<int> RunPause(Context& context, const Flags& flags) {
  return PostEach(context, flags, "/pause");
}
Result<int> RunUnpause(Context& context, const Flags& flags) {
  return PostEach(context, flags, "/unpause");
}

Result<int> RunRm(Context& context, const Flags& flags) {
  STRATA_TRY_ASSIGN(Client * client, context.client());
  const bool force = flags.On("force");
  return ForEachOperand(flags.operands(), [&](const std::string& name) -> Result<> {
    auto answer =
        client->Delete(ContainerPath(name) +
                       Query({{"force", force ? "1" : ""}, {"v", flags.On("volumes") ? "1" : ""}}));
    if (answer) {
      Print(name + "\n");
      return {};
    }
    if (!force || answer.error().code() != ENOENT) {
      return std::unexpected(std::move(answer).error());
    }
    // With -f the wish is that it be gone: it is.
    Complain(Explain(answer.error()));
    return {};
  });
}

Result<int> RunRename(Context& context, const Flags& flags) {
  STRATA_TRY_ASSIGN(Client * client, context.client());
  STRATA_TRY_ASSIGN(const Json answer, client->Post(ContainerPath(flags.operands()[0]) + "/rename" +
                                                    Query({{"name", flags.operands()[1]}})));
  return 0;
}

Result<int> RunWait(Context& context, const Flags& flags) {
  STRATA_TRY_ASSIGN(Client * client, context.client());
  return ForEachOperand(flags.operands(), [&](const std::string& name) -> Result<> {
    STRATA_TRY_ASSIGN(const Json answer, client->Post(ContainerPath(name) + "/wait"));
    if (const std::string message = TextAt(answer, "Error.Message"); !message.empty()) {
      return Fail(EIO, kDaemonError, message);
    }
    Print(std::to_string(NumberAt(answer, "StatusCode")) + "\n");
    return {};
  });
}

Result<int> RunInspect(Context& context, const Flags& flags) {
  STRATA_TRY_ASSIGN(Client * client, context.client());
  const std::string type = flags.Value("type");
  const std::string format = flags.Value("format");
  const auto& names = flags.operands();
  if (type == "container") return InspectObjects(*client, names, {ObjectKind::kContainer}, format);
  if (type == "image") return InspectObjects(*client, names, {ObjectKind::kImage}, format);
  if (type == "volume") return InspectObjects(*client, names, {ObjectKind::kVolume}, format);
  return InspectObjects(*client, names,
                        {ObjectKind::kContainer, ObjectKind::kImage, ObjectKind::kVolume}, format);
}

Result<int> RunTop(Context& context, const Flags& flags) {
  const auto& operands = flags.operands();
  const std::vector<std::string> arguments(operands.begin() + 1, operands.end());
  STRATA_TRY_ASSIGN(Client * client, context.client());
  STRATA_TRY_ASSIGN(const Json top, client->Get(ContainerPath(operands[0]) + "/top" +
                                                Query({{"ps_args", JoinList(arguments, " ")}})));
  const auto line = [](const Json& cells) {
    std::vector<std::string> texts;
    for (const Json& cell : cells) texts.push_back(Text(cell));
    return JoinList(texts, "\t") + "\n";
  };
  std::string text = line(At(top, "Titles"));
  for (const Json& process : At(top, "Processes")) text += line(process);
  Print(AlignColumns(text));
  return 0;
}

// The commands that take containers and do one thing to each.
Command EachContainer(const char* name, const char* summary, Names names,
                      std::vector<FlagSpec> flags,
                      std::function<Result<int>(Context&, const Flags&)> run) {
  return {.name = name,
          .operands = flags.empty() ? "CONTAINER..." : "[OPTIONS] CONTAINER...",
          .summary = summary,
          .min_operands = 1,
          .max_operands = kManyOperands,
          .operand_names = {names},
          .flags = std::move(flags),
          .run = std::move(run)};
}

std::vector<FlagSpec> PsFlags() {
  return {{"all", 'a', Kind::kSwitch, "", "stopped ones, too"},
          {"filter", 'f', Kind::kList, "KEY=VALUE", "show only what matches"},
          {"format", 0, Kind::kValue, "TEMPLATE", "table, json or a Go template"},
          {"last", 'n', Kind::kValue, "N", "the N made last, in any state"},
          {"latest", 'l', Kind::kSwitch, "", "the one made last, in any state"},
          {"no-trunc", 0, Kind::kSwitch, "", "show whole ids and commands"},
          {"quiet", 'q', Kind::kSwitch, "", "show ids only"},
          {"size", 's', Kind::kSwitch, "", "show what they changed on disk"}};
}

std::vector<FlagSpec> LogsFlags() {
  return {{"follow", 'f', Kind::kSwitch, "", "go on as it comes"},
          {"since", 0, Kind::kValue, "TIME", "from a time or a duration ago (10m) on"},
          {"tail", 'n', Kind::kValue, "N", "only the last N lines"},
          {"timestamps", 't', Kind::kSwitch, "", "show when each line was written"},
          {"until", 0, Kind::kValue, "TIME", "up to a time"}};
}

}  // namespace

std::vector<Command> ContainerCommands() {
  const FlagSpec signal{"signal", 's', Kind::kValue, "SIGNAL", "the signal to send"};
  const FlagSpec time{"time", 't', Kind::kValue, "SECONDS", "how long to wait before killing it"};
  return {
      {.name = "ps",
       .operands = "[OPTIONS]",
       .summary = "List containers",
       .flags = PsFlags(),
       .run = RunPs},
      {.name = "logs",
       .operands = "[OPTIONS] CONTAINER",
       .summary = "Show what a container wrote",
       .min_operands = 1,
       .max_operands = 1,
       .operand_names = {Names::kContainer},
       .flags = LogsFlags(),
       .run = RunLogs},
      EachContainer("stop", "Stop running containers", Names::kRunningContainer, {signal, time},
                    RunStop),
      EachContainer("restart", "Stop and start containers", Names::kContainer, {signal, time},
                    RunRestart),
      EachContainer("kill", "Kill running containers", Names::kRunningContainer, {signal}, RunKill),
      EachContainer("pause", "Freeze all processes of containers", Names::kRunningContainer, {},
                    RunPause),
      EachContainer("unpause", "Let frozen containers go on", Names::kContainer, {}, RunUnpause),
      EachContainer("rm", "Remove containers", Names::kContainer,
                    {{"force", 'f', Kind::kSwitch, "", "kill running ones"},
                     {"volumes", 'v', Kind::kSwitch, "", "with their anonymous volumes"}},
                    RunRm),
      EachContainer("wait", "Wait until containers stop, print their exit codes", Names::kContainer,
                    {}, RunWait),
      {.name = "rename",
       .operands = "CONTAINER NAME",
       .summary = "Give a container another name",
       .min_operands = 2,
       .max_operands = 2,
       .operand_names = {Names::kContainer, Names::kNothing},
       .run = RunRename},
      {.name = "top",
       .operands = "CONTAINER [PS OPTIONS]",
       .summary = "Show the processes of a container",
       .min_operands = 1,
       .max_operands = kManyOperands,
       .operand_names = {Names::kRunningContainer, Names::kNothing},
       .interspersed = false,
       .run = RunTop},
      {.name = "inspect",
       .operands = "[OPTIONS] NAME...",
       .summary = "Show everything about containers, images or volumes",
       .min_operands = 1,
       .max_operands = kManyOperands,
       .operand_names = {Names::kObject},
       .flags = {{"format", 'f', Kind::kValue, "TEMPLATE", "json or a Go template"},
                 {"type", 0, Kind::kValue, "TYPE", "of this type only", "container|image|volume"}},
       .run = RunInspect},
  };
}

}  // namespace strata::manager::cli
