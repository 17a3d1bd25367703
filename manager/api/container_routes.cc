// /containers: create, list, inspect, the state changes, top, prune.
#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>
#include <unordered_map>

#include "base/path.h"
#include "base/try.h"
#include "manager/api/api.h"
#include "manager/api/replies.h"
#include "manager/api/router.h"
#include "manager/container/container_service.h"
#include "manager/container/image_layers.h"
#include "manager/container/json.h"
#include "manager/image/image_service.h"

namespace strata::manager {
namespace {

using nlohmann::json;

constexpr std::int64_t kBillion = 1'000'000'000;

std::string Plural(std::int64_t count, const char* unit) {
  return std::to_string(count) + ' ' + unit;
}

// docker's way to say how long: "About a minute", "3 hours".
std::string HumanDuration(std::int64_t seconds) {
  const std::int64_t minutes = seconds / 60;
  const std::int64_t hours = (seconds + 1800) / 3600;
  if (seconds < 1) return "Less than a second";
  if (seconds == 1) return "1 second";
  if (seconds < 60) return Plural(seconds, "seconds");
  if (minutes == 1) return "About a minute";
  if (minutes < 60) return Plural(minutes, "minutes");
  if (hours == 1) return "About an hour";
  if (hours < 48) return Plural(hours, "hours");
  if (hours < 24 * 14) return Plural(hours / 24, "days");
  if (hours < 24 * 60) return Plural(hours / 24 / 7, "weeks");
  if (hours < 24 * 730) return Plural(hours / 24 / 30, "months");
  return Plural(hours / 24 / 365, "years");
}

std::string StatusText(const ContainerState& state) {
  const std::int64_t now = NowNs();
  const auto since = [&](std::int64_t then) { return HumanDuration((now - then) / kBillion); };
  switch (state.status) {
    case Status::kRunning:
      return "Up " + since(state.started_ns);
    case Status::kPaused:
      return "Up " + since(state.started_ns) + " (Paused)";
    case Status::kExited:
      return "Exited (" + std::to_string(state.exit_code) + ") " + since(state.finished_ns) +
             " ago";
    case Status::kCreated:
      return "Created";
    case Status::kRemoving:
      return "Removal In Progress";
    case Status::kDead:
      break;
  }
  return "Dead";
}

json NetworksJson(const ContainerRecord& record) {
  const std::string name = record.host.network_mode == "host" ? "host" : "none";
  return {{name,
           {{"IPAMConfig", nullptr},
            {"Links", nullptr},
            {"Aliases", nullptr},
            {"NetworkID", ""},
            {"EndpointID", ""},
            {"Gateway", ""},
            {"IPAddress", ""},
            {"IPPrefixLen", 0},
            {"IPv6Gateway", ""},
            {"GlobalIPv6Address", ""},
            {"GlobalIPv6PrefixLen", 0},
            {"MacAddress", ""},
            {"DriverOpts", nullptr}}}};
}

json MountsJson(const ContainerRecord& record) {
  json mounts = json::array();
  for (const auto& mount : record.mounts) mounts.push_back(ToJson(mount));
  return mounts;
}

using LayerSizes = std::unordered_map<Digest, std::uint64_t>;

// What a container's own layer has and, as docker counts, that and its image together.
Result<> AddSizes(const ApiContext& context, const ContainerRecord& record,
                  const LayerSizes& layers, json& object) {
  const std::uint64_t own = context.containers.LayerSize(record.id);
  STRATA_TRY_ASSIGN(const std::uint64_t image, ImageSize(record, layers));
  object["SizeRw"] = own;
  object["SizeRootFs"] = own + image;
  return {};
}

json SummaryJson(const ContainerRecord& record) {
  std::string command;
  for (const auto& arg : record.args) command += (command.empty() ? "" : " ") + arg;
  return {{"Id", record.id},
          {"Names", {"/" + record.name}},
          {"Image", record.image_name},
          {"ImageID", record.image_id.ToString()},
          {"Command", command},
          {"Created", record.created_ns / kBillion},
          {"Ports", json::array()},
          {"Labels", record.config.labels},
          {"State", StatusName(record.state.status)},
          {"Status", StatusText(record.state)},
          {"HostConfig", {{"NetworkMode", record.host.network_mode}}},
          {"NetworkSettings", {{"Networks", NetworksJson(record)}}},
          {"Mounts", MountsJson(record)}};
}

bool Accepts(const Filters& filters, const ContainerRecord& record) {
  const auto any = [&](const char* name, auto matches) {
    const auto& values = filters.Values(name);
    return values.empty() || std::ranges::any_of(values, matches);
  };
  return any("id", [&](const std::string& v) { return record.id.starts_with(v); }) &&
         any("name",
             [&](const std::string& v) {
               std::string_view part(v);
               const bool start = part.starts_with('^');
               if (start) part.remove_prefix(1);
               if (part.starts_with('/')) part.remove_prefix(1);
               const bool end = part.ends_with('$');
               if (end) part.remove_suffix(1);
               if (start && end) return record.name == part;
               if (start) return record.name.starts_with(part);
               return record.name.find(part) != std::string::npos;
             }) &&
         any("status",
             [&](const std::string& v) { return v == StatusName(record.state.status); }) &&
         any("exited",
             [&](const std::string& v) {
               return record.state.status == Status::kExited &&
                      v == std::to_string(record.state.exit_code);
             }) &&
         any("ancestor",
             [&](const std::string& v) {
               return v == record.image_name || v + ":latest" == record.image_name ||
                      v == record.image_name + ":latest" || v == record.image_id.ToString() ||
                      record.image_id.Hex().starts_with(v);
             }) &&
         any("volume",
             [&](const std::string& v) {
               return std::ranges::any_of(record.mounts, [&](const MountPoint& m) {
                 return m.name == v || m.destination == v;
               });
             }) &&
         any("network",
             [&](const std::string& v) {
               return v == record.host.network_mode ||
                      (v == "none" && record.host.network_mode == "default");
             }) &&
         filters.MatchLabels(record.config.labels);
}

Result<> List(Exchange& exchange, const ApiContext& context) {
  const HttpRequest& request = exchange.request();
  STRATA_TRY_ASSIGN(const Filters filters,
                    Filters::Parse(request, {"id", "name", "label", "status", "ancestor", "exited",
                                             "volume", "network", "before", "since", "health"}));
  STRATA_TRY_ASSIGN(const std::int64_t limit, request.QueryInt("limit", 0));
  const bool all =
      request.QueryFlag("all") || filters.Has("status") || filters.Has("exited") || limit > 0;
  std::optional<LayerSizes> layers;
  if (request.QueryFlag("size")) {
    STRATA_TRY_ASSIGN(layers, context.images.LayerSizes());
  }
  json list = json::array();
  for (const auto& record : context.containers.List()) {
    const bool active =
        record.state.status == Status::kRunning || record.state.status == Status::kPaused;
    if ((!all && !active) || !Accepts(filters, record)) continue;
    json summary = SummaryJson(record);
    if (layers) STRATA_TRY(AddSizes(context, record, *layers, summary));
    list.push_back(std::move(summary));
    if (limit > 0 && list.size() >= static_cast<std::size_t>(limit)) break;
  }
  return ReplyJson(exchange, 200, list);
}

json StateJson(const ContainerState& state) {
  const bool active = state.status == Status::kRunning || state.status == Status::kPaused;
  return {{"Status", StatusName(state.status)},
          {"Running", active},
          {"Paused", state.status == Status::kPaused},
          {"Restarting", false},
          {"OOMKilled", state.oom_killed},
          {"Dead", state.status == Status::kDead},
          {"Pid", state.pid},
          {"ExitCode", state.exit_code},
          {"Error", state.error},
          {"StartedAt", TimeText(state.started_ns)},
          {"FinishedAt", TimeText(state.finished_ns)}};
}

Result<> Inspect(Exchange& exchange, const ApiContext& context, const std::string& id) {
  STRATA_TRY_ASSIGN(const ContainerRecord record, context.containers.Find(id));
  const ContainerPaths& paths = context.containers.paths();
  const std::string home = paths.Home(record.id);
  const std::vector<std::string> args(record.args.begin() + 1, record.args.end());
  const auto execs = context.containers.ExecsOf(record.id);
  json object{{"Id", record.id},
              {"Created", TimeText(record.created_ns)},
              {"Path", record.args[0]},
              {"Args", args},
              {"State", StateJson(record.state)},
              {"Image", record.image_id.ToString()},
              {"ResolvConfPath", JoinPath(home, "resolv.conf")},
              {"HostnamePath", JoinPath(home, "hostname")},
              {"HostsPath", JoinPath(home, "hosts")},
              {"LogPath", paths.Log(record.id)},
              {"Name", "/" + record.name},
              {"RestartCount", record.restart_count},
              {"Driver", "strata"},
              {"Platform", "linux"},
              {"MountLabel", ""},
              {"ProcessLabel", ""},
              {"AppArmorProfile", ""},
              {"ExecIDs", execs.empty() ? json(nullptr) : json(execs)},
              {"HostConfig", ToJson(record.host)},
              {"GraphDriver",
               {{"Name", "strata"},
                {"Data",
                 {{"UpperDir", paths.Upper(record.id)},
                  {"WorkDir", paths.Work(record.id)},
                  {"MergedDir", paths.Merged(record.id)}}}}},
              {"Mounts", MountsJson(record)},
              {"Config", ToJson(record.config)},
              {"NetworkSettings",
               {{"Bridge", ""},
                {"SandboxID", ""},
                {"Ports", json::object()},
                {"IPAddress", ""},
                {"Gateway", ""},
                {"MacAddress", ""},
                {"Networks", NetworksJson(record)}}}};
  if (exchange.request().QueryFlag("size")) {
    STRATA_TRY_ASSIGN(const LayerSizes layers, context.images.LayerSizes());
    STRATA_TRY(AddSizes(context, record, layers, object));
  }
  return ReplyJson(exchange, 200, object);
}

Result<> Create(Exchange& exchange, const ApiContext& context) {
  STRATA_TRY_ASSIGN(const json body, ReadJson(exchange));
  if (!body.is_object()) {
    return Fail(EINVAL, "create", "invalid JSON: a JSON object was expected");
  }
  STRATA_TRY_ASSIGN(ContainerConfig config, ParseContainerConfig(body));
  const json host_object = body.value("HostConfig", json::object());
  STRATA_TRY_ASSIGN(HostConfig host,
                    ParseHostConfig(host_object.is_null() ? json::object() : host_object));
  STRATA_TRY_ASSIGN(CreateOutcome outcome,
                    context.containers.Create(std::string(exchange.request().Query("name")),
                                              std::move(config), std::move(host)));
  const bool asked = !exchange.request().Query("platform").empty();
  if (!asked && !outcome.platform_warning.empty()) {
    outcome.warnings.push_back(std::move(outcome.platform_warning));
  }
  return ReplyJson(exchange, 201, {{"Id", outcome.id}, {"Warnings", outcome.warnings}});
}

Result<std::optional<int>> StopTimeout(const HttpRequest& request) {
  if (request.Query("t").empty()) return std::optional<int>();
  STRATA_TRY_ASSIGN(const std::int64_t seconds, request.QueryInt("t", 0));
  return std::optional<int>(static_cast<int>(std::clamp<std::int64_t>(seconds, -1, 1 << 30)));
}

Result<> Stop(Exchange& exchange, const ApiContext& context, const std::string& id) {
  STRATA_TRY_ASSIGN(const auto timeout, StopTimeout(exchange.request()));
  STRATA_TRY(context.containers.Stop(id, std::string(exchange.request().Query("signal")), timeout));
  return ReplyNothing(exchange, 204);
}

Result<> Restart(Exchange& exchange, const ApiContext& context, const std::string& id) {
  STRATA_TRY_ASSIGN(const auto timeout, StopTimeout(exchange.request()));
  STRATA_TRY(
      context.containers.Restart(id, std::string(exchange.request().Query("signal")), timeout));
  return ReplyNothing(exchange, 204);
}

Result<> Resize(Exchange& exchange, const ApiContext& context, const std::string& id) {
  STRATA_TRY_ASSIGN(const std::int64_t rows, exchange.request().QueryInt("h", 0));
  STRATA_TRY_ASSIGN(const std::int64_t columns, exchange.request().QueryInt("w", 0));
  if (!std::in_range<std::uint16_t>(rows) || !std::in_range<std::uint16_t>(columns)) {
    return Fail(EINVAL, "resize", "invalid size");
  }
  STRATA_TRY(context.containers.Resize(id, static_cast<std::uint16_t>(rows),
                                       static_cast<std::uint16_t>(columns)));
  return ReplyNothing(exchange, 200);
}

std::string ReadProc(pid_t pid, const char* file) {
  std::ifstream stream("/proc/" + std::to_string(pid) + '/' + file, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

// UID, PID, PPID and CMD, read from /proc: no program of anybody's is run for it.
Result<> Top(Exchange& exchange, const ApiContext& context, const std::string& id) {
  STRATA_TRY_ASSIGN(const auto pids, context.containers.Processes(id));
  json rows = json::array();
  for (const pid_t pid : pids) {
    std::istringstream status(ReadProc(pid, "status"));
    std::string uid = "?";
    std::string parent = "0";
    std::string name;
    for (std::string line; std::getline(status, line);) {
      std::istringstream words(line);
      std::string key;
      std::string value;
      words >> key >> value;
      if (key == "Uid:") uid = value;
      if (key == "PPid:") parent = value;
      if (key == "Name:") name = value;
    }
    if (name.empty()) continue;  // gone meanwhile
    std::string command = ReadProc(pid, "cmdline");
    while (command.ends_with('\0')) command.pop_back();
    std::ranges::replace(command, '\0', ' ');
    rows.push_back(
        {uid, std::to_string(pid), parent, command.empty() ? '[' + name + ']' : command});
  }
  return ReplyJson(exchange, 200, {{"Titles", {"UID", "PID", "PPID", "CMD"}}, {"Processes", rows}});
}

Result<> Prune(Exchange& exchange, const ApiContext& context) {
  STRATA_TRY_ASSIGN(const Filters filters, Filters::Parse(exchange.request(), {"label"}));
  STRATA_TRY_ASSIGN(const PruneOutcome outcome,
                    context.containers.Prune([&](const ContainerRecord& record) {
                      return filters.MatchLabels(record.config.labels);
                    }));
  return ReplyJson(exchange, 200,
                   {{"ContainersDeleted", outcome.ids.empty() ? json(nullptr) : json(outcome.ids)},
                    {"SpaceReclaimed", outcome.reclaimed}});
}

}  // namespace

void AddContainerRoutes(Router& router, const ApiContext& context) {
  const auto add = [&](const char* method, const char* path, auto handler) {
    router.Add(method, path, [&context, handler](Exchange& e, const RouteParameters& p) {
      if constexpr (requires { handler(e, context, p.at("id")); }) {
        return handler(e, context, p.at("id"));
      } else {
        return handler(e, context);
      }
    });
  };
  // A call that only says whether it worked: 204.
  const auto change = [&](const char* method, const char* path, auto call) {
    router.Add(method, path, [&context, call](Exchange& e, const RouteParameters& p) -> Result<> {
      STRATA_TRY(call(context.containers, p.at("id"), e.request()));
      return ReplyNothing(e, 204);
    });
  };
  using Service = ContainerService;
  add("GET", "/containers/json", List);
  add("POST", "/containers/create", Create);
  add("POST", "/containers/prune", Prune);
  add("GET", "/containers/{id}/json", Inspect);
  add("GET", "/containers/{id}/top", Top);
  add("POST", "/containers/{id}/stop", Stop);
  add("POST", "/containers/{id}/restart", Restart);
  add("POST", "/containers/{id}/resize", Resize);
  change("POST", "/containers/{id}/start",
         [](Service& s, const std::string& id, const HttpRequest&) { return s.Start(id); });
  change("POST", "/containers/{id}/kill",
         [](Service& s, const std::string& id, const HttpRequest& request) {
           return s.Kill(id, std::string(request.Query("signal")));
         });
  change("POST", "/containers/{id}/pause",
         [](Service& s, const std::string& id, const HttpRequest&) { return s.Pause(id); });
  change("POST", "/containers/{id}/unpause",
         [](Service& s, const std::string& id, const HttpRequest&) { return s.Unpause(id); });
  change("POST", "/containers/{id}/rename",
         [](Service& s, const std::string& id, const HttpRequest& request) {
           return s.Rename(id, std::string(request.Query("name")));
         });
  change("DELETE", "/containers/{id}",
         [](Service& s, const std::string& id, const HttpRequest& request) {
           return s.Remove(id, request.QueryFlag("force"), request.QueryFlag("v"));
         });
}

}  // namespace strata::manager
