// /_ping, /version, /info, /events, /system/df and the two networks there are.
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/try.h"
#include "layerstore/oci/manifest.h"
#include "manager/api/api.h"
#include "manager/api/replies.h"
#include "manager/api/router.h"
#include "manager/container/container_service.h"
#include "manager/container/image_layers.h"
#include "manager/container/json.h"
#include "manager/image/image_service.h"
#include "manager/runtime/oci_runtime.h"
#include "manager/volume/volume_store.h"

namespace strata::manager {
namespace {

using nlohmann::json;

std::string KernelVersion() {
  utsname name{};
  return ::uname(&name) == 0 ? name.release : "";
}

Result<> Ping(Exchange& exchange) {
  return exchange.Reply(200, "text/plain; charset=utf-8", "OK",
                        {{"Builder-Version", "1"},
                         {"Swarm", "inactive"},
                         {"Cache-Control", "no-cache, no-store, must-revalidate"},
                         {"Pragma", "no-cache"}});
}

Result<> Version(Exchange& exchange, const ApiContext& context) {
  const layerstore::Platform host = layerstore::HostPlatform();
  const json details{{"ApiVersion", ApiVersionText(kApiMinorMax)},
                     {"MinAPIVersion", ApiVersionText(kApiMinorMin)},
                     {"Arch", host.architecture},
                     {"BuildTime", ""},
                     {"Experimental", "false"},
                     {"GitCommit", ""},
                     {"GoVersion", ""},
                     {"KernelVersion", KernelVersion()},
                     {"Os", "linux"}};
  json version = details;
  version["Experimental"] = false;
  version["Version"] = STRATA_VERSION;
  version["Platform"] = {{"Name", "Strata"}};
  version["Components"] = {
      {{"Name", "Engine"}, {"Version", STRATA_VERSION}, {"Details", details}},
      {{"Name", context.runtime.name()},
       {"Version", context.runtime.version()},
       {"Details", {{"GitCommit", context.runtime.commit()}}}},
      {{"Name", "conmon"}, {"Version", context.monitor_version}, {"Details", json::object()}}};
  return ReplyJson(exchange, 200, version);
}

Result<> Info(Exchange& exchange, const ApiContext& context) {
  int running = 0;
  int paused = 0;
  const auto records = context.containers.List();
  for (const auto& record : records) {
    running += record.state.status == Status::kRunning ? 1 : 0;
    paused += record.state.status == Status::kPaused ? 1 : 0;
  }
  const int total = static_cast<int>(records.size());
  STRATA_TRY_ASSIGN(const auto images, context.images.List({}));
  struct sysinfo memory{};
  ::sysinfo(&memory);
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  utsname name{};
  ::uname(&name);
  const bool unified = ::access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0;
  json info{{"ID", host.data()},
            {"Name", host.data()},
            {"Containers", total},
            {"ContainersRunning", running},
            {"ContainersPaused", paused},
            {"ContainersStopped", total - running - paused},
            {"Images", images.size()},
            {"Driver", "strata"},
            {"DriverStatus", {{"Union", context.stratafs}}},
            {"DockerRootDir", context.data_root},
            {"ServerVersion", STRATA_VERSION},
            {"LoggingDriver", "json-file"},
            {"CgroupDriver", "cgroupfs"},
            {"CgroupVersion", unified ? "2" : "1"},
            {"KernelVersion", name.release},
            {"OperatingSystem", "Linux"},
            {"OSType", "linux"},
            {"OSVersion", ""},
            {"Architecture", name.machine},
            {"NCPU", ::sysconf(_SC_NPROCESSORS_ONLN)},
            {"MemTotal", std::uint64_t{memory.totalram} * memory.mem_unit},
            {"IndexServerAddress", "https://index.docker.io/v1/"},
            {"DefaultRuntime", context.runtime.name()},
            {"Runtimes", {{context.runtime.name(), {{"path", context.runtime.path()}}}}},
            {"SecurityOptions", {"name=seccomp,profile=builtin"}},
            {"Swarm", {{"LocalNodeState", "inactive"}}},
            {"Plugins", {{"Volume", {"local"}}, {"Network", {"host", "null"}}}},
            {"MemoryLimit", true},
            {"PidsLimit", true},
            {"CpuCfsQuota", true},
            {"IPv4Forwarding", true},
            {"Debug", false},
            {"ExperimentalBuild", false},
            {"LiveRestoreEnabled", true},
            {"Labels", json::array()},
            {"Warnings", nullptr}};
  info["DriverStatus"] = json::array({json::array({"Union", context.stratafs})});
  return ReplyJson(exchange, 200, info);
}

json EventJson(const Event& event) {
  json attributes = event.attributes;
  json object{{"Type", event.type},
              {"Action", event.action},
              {"Actor", {{"ID", event.actor}, {"Attributes", attributes}}},
              {"scope", "local"},
              {"time", event.time_ns / 1'000'000'000},
              {"timeNano", event.time_ns}};
  if (event.type == "container" || event.type == "image") {  // compose v1 reads these
    object["status"] = event.action;
    object["id"] = event.actor;
    const auto image = event.attributes.find("image");
    if (image != event.attributes.end()) object["from"] = image->second;
  }
  return object;
}

bool Wanted(const Filters& filters, const Event& event) {
  const auto one_of = [&](const char* filter, std::initializer_list<std::string_view> values) {
    if (!filters.Has(filter)) return true;
    return std::ranges::any_of(filters.Values(filter), [&](const std::string& wanted) {
      return std::ranges::find(values, wanted) != values.end();
    });
  };
  const auto attribute = [&](const char* name) {
    const auto it = event.attributes.find(name);
    return it == event.attributes.end() ? std::string_view() : std::string_view(it->second);
  };
  return one_of("type", {event.type}) && one_of("event", {event.action}) &&
         one_of("container", {event.actor, attribute("name")}) &&
         one_of("image", {event.actor, attribute("image")}) && one_of("volume", {event.actor}) &&
         filters.MatchLabels(event.attributes);
}

Result<> Events(Exchange& exchange, const ApiContext& context) {
  const HttpRequest& request = exchange.request();
  STRATA_TRY_ASSIGN(const Filters filters,
                    Filters::Parse(request, {"type", "event", "container", "image", "volume",
                                             "label", "network", "daemon", "scope"}));
  STRATA_TRY_ASSIGN(const std::int64_t since, request.QueryTime("since", -1));
  STRATA_TRY_ASSIGN(const std::int64_t until, request.QueryTime("until", -1));
  STRATA_TRY_ASSIGN(const auto events, context.events.Subscribe(since));
  STRATA_TRY(exchange.Begin(200, "application/json"));
  for (;;) {
    for (const auto& event : events->Take()) {
      if (until >= 0 && event.time_ns > until) return {};
      if (Wanted(filters, event)) STRATA_TRY(exchange.Send(Dump(EventJson(event)) + "\r\n"));
    }
    auto wait = std::chrono::milliseconds(-1);
    if (until >= 0) {
      wait =
          std::chrono::ceil<std::chrono::milliseconds>(std::chrono::nanoseconds(until - NowNs()));
      if (wait.count() <= 0) return {};
    }
    const std::array fds{events->fd()};
    if (!exchange.AwaitReadable(fds, wait)) return {};
  }
}

json NetworkJson(const std::string& name) {
  const std::string driver = name == "host" ? "host" : "null";
  return {{"Name", name},
          {"Id", name == "host" ? std::string(64, 'a') : std::string(64, 'b')},
          {"Created", "0001-01-01T00:00:00Z"},
          {"Scope", "local"},
          {"Driver", driver},
          {"EnableIPv6", false},
          {"IPAM", {{"Driver", "default"}, {"Options", nullptr}, {"Config", json::array()}}},
          {"Internal", false},
          {"Attachable", false},
          {"Ingress", false},
          {"ConfigFrom", {{"Network", ""}}},
          {"ConfigOnly", false},
          {"Containers", json::object()},
          {"Options", json::object()},
          {"Labels", json::object()}};
}

Result<> Networks(Exchange& exchange) {
  STRATA_TRY_ASSIGN(const Filters filters,
                    Filters::Parse(exchange.request(),
                                   {"driver", "id", "label", "name", "scope", "type", "dangling"}));
  json list = json::array();
  for (const char* name : {"host", "none"}) {
    const auto& names = filters.Values("name");
    const bool matches = names.empty() || std::ranges::any_of(names, [&](const std::string& part) {
                           return std::string_view(name).find(part) != std::string_view::npos;
                         });
    if (matches && !filters.Has("label")) list.push_back(NetworkJson(name));
  }
  return ReplyJson(exchange, 200, list);
}

Result<> DiskUsage(Exchange& exchange, const ApiContext& context) {
  json images = json::array();
  STRATA_TRY_ASSIGN(const auto list, context.images.List({}));
  STRATA_TRY_ASSIGN(const layerstore::StoreUsage usage, context.images.Usage());
  STRATA_TRY_ASSIGN(auto shared, context.images.SharedSizes());
  std::map<std::string, int> users;
  json containers = json::array();
  STRATA_TRY_ASSIGN(const auto layers, context.images.LayerSizes());
  for (const auto& record : context.containers.List()) {
    const std::uint64_t own = context.containers.LayerSize(record.id);
    STRATA_TRY_ASSIGN(const std::uint64_t image, ImageSize(record, layers));
    ++users[record.image_id.ToString()];
    containers.push_back({{"Id", record.id},
                          {"Names", {"/" + record.name}},
                          {"Image", record.image_name},
                          {"ImageID", record.image_id.ToString()},
                          {"Command", record.args.empty() ? "" : record.args[0]},
                          {"Created", record.created_ns / 1'000'000'000},
                          {"State", StatusName(record.state.status)},
                          {"Status", StatusName(record.state.status)},
                          {"SizeRw", own},
                          {"SizeRootFs", own + image},
                          {"Mounts", json::array()}});
  }
  for (const auto& image : list) {
    json tags = json::array();
    for (const auto& tag : image.tags) tags.push_back(tag.Familiar());
    images.push_back({{"Id", image.id.ToString()},
                      {"RepoTags", tags},
                      {"Created", image.created},
                      {"Size", image.size},
                      {"SharedSize", shared[image.id]},
                      {"Containers", users[image.id.ToString()]}});
  }
  json volumes = json::array();
  STRATA_TRY_ASSIGN(const auto found, context.volumes.List());
  for (const auto& volume : found) {
    volumes.push_back({{"Name", volume.name},
                       {"Driver", "local"},
                       {"Mountpoint", volume.mountpoint},
                       {"Scope", "local"},
                       {"UsageData", {{"Size", -1}, {"RefCount", -1}}}});
  }
  return ReplyJson(exchange, 200,
                   {{"LayersSize", usage.content},
                    {"Store",
                     {{"Layers", usage.layers},
                      {"Logical", usage.logical},
                      {"Physical", usage.physical},
                      {"Shared", usage.shared()},
                      {"Unused", usage.unused},
                      {"Blobs", usage.blobs}}},
                    {"Images", images},
                    {"Containers", containers},
                    {"Volumes", volumes},
                    {"BuildCache", json::array()}});
}

}  // namespace

void AddSystemRoutes(Router& router, const ApiContext& context) {
  router.Add("GET", "/_ping", [](Exchange& e, const RouteParameters&) { return Ping(e); });
  router.Add("GET", "/version",
             [&context](Exchange& e, const RouteParameters&) { return Version(e, context); });
  router.Add("GET", "/info",
             [&context](Exchange& e, const RouteParameters&) { return Info(e, context); });
  router.Add("GET", "/events",
             [&context](Exchange& e, const RouteParameters&) { return Events(e, context); });
  router.Add("GET", "/system/df",
             [&context](Exchange& e, const RouteParameters&) { return DiskUsage(e, context); });
  router.Add("GET", "/networks", [](Exchange& e, const RouteParameters&) { return Networks(e); });
  router.Add("GET", "/networks/{name}", [](Exchange& e, const RouteParameters& p) -> Result<> {
    const std::string& name = p.at("name");
    if (name == "host" || name == "none") return ReplyJson(e, 200, NetworkJson(name));
    return Fail(ENOENT, "network", "network " + name + " not found");
  });
  router.Add("POST", "/networks/create", [](Exchange&, const RouteParameters&) -> Result<> {
    return Fail(ENOTSUP, "network",
                "networks cannot be created yet: containers use --network none or host");
  });
}

}  // namespace strata::manager
