// /volumes.
#include <algorithm>
#include <set>

#include "base/try.h"
#include "manager/api/api.h"
#include "manager/api/replies.h"
#include "manager/api/router.h"
#include "manager/container/container_service.h"
#include "manager/container/json.h"
#include "manager/container/json_fields.h"
#include "manager/container/names.h"
#include "manager/volume/volume_store.h"

namespace strata::manager {
namespace {

using nlohmann::json;

json VolumeJson(const Volume& volume) {
  return {{"Name", volume.name},
          {"Driver", "local"},
          {"Mountpoint", volume.mountpoint},
          {"CreatedAt", TimeText(volume.created * 1'000'000'000)},
          {"Labels", volume.labels},
          {"Scope", "local"},
          {"Options", volume.options}};
}

std::set<std::string> UsedVolumes(const ApiContext& context) {
  std::set<std::string> used;
  for (const auto& record : context.containers.List()) {
    for (const auto& mount : record.mounts) {
      if (mount.type == "volume") used.insert(mount.name);
    }
  }
  return used;
}

Result<> List(Exchange& exchange, const ApiContext& context) {
  STRATA_TRY_ASSIGN(const Filters filters,
                    Filters::Parse(exchange.request(), {"dangling", "driver", "label", "name"}));
  STRATA_TRY_ASSIGN(const auto volumes, context.volumes.List());
  const std::set<std::string> used = UsedVolumes(context);
  json list = json::array();
  for (const auto& volume : volumes) {
    const auto& names = filters.Values("name");
    const bool named = names.empty() || std::ranges::any_of(names, [&](const std::string& part) {
                         return volume.name.find(part) != std::string::npos;
                       });
    const auto& dangling = filters.Values("dangling");
    const bool wanted = dangling.empty() || (dangling[0] == "true" || dangling[0] == "1") ==
                                                !used.contains(volume.name);
    if (named && wanted && filters.MatchLabels(volume.labels)) list.push_back(VolumeJson(volume));
  }
  return ReplyJson(exchange, 200, {{"Volumes", list}, {"Warnings", nullptr}});
}

Result<> Create(Exchange& exchange, const ApiContext& context) {
  STRATA_TRY_ASSIGN(const json body, ReadJson(exchange));
  Volume volume;
  std::string driver;
  if (!body.is_null()) {
    JsonFields fields(body);
    fields.Get("Name", volume.name);
    fields.Get("Driver", driver);
    fields.Get("Labels", volume.labels);
    fields.Get("DriverOpts", volume.options);
    STRATA_TRY(fields.Finish());
  }
  if (!driver.empty() && driver != "local") {
    return Fail(ENOTSUP, "volume", "volume driver " + driver + " is not supported: use local");
  }
  if (!volume.options.empty()) {
    return Fail(ENOTSUP, "volume", "driver options are not supported");
  }
  if (volume.name.empty()) {
    volume.name = NewId();
    volume.anonymous = true;
  }
  bool created = false;
  STRATA_TRY_ASSIGN(const Volume made, context.volumes.Create(volume, &created));
  if (created) context.events.Publish({"volume", "create", made.name, {{"driver", "local"}}});
  return ReplyJson(exchange, 201, VolumeJson(made));
}

Result<> Inspect(Exchange& exchange, const ApiContext& context, const std::string& name) {
  STRATA_TRY_ASSIGN(const Volume volume, context.volumes.Find(name));
  return ReplyJson(exchange, 200, VolumeJson(volume));
}

Result<> Remove(Exchange& exchange, const ApiContext& context, const std::string& name) {
  for (const auto& record : context.containers.List()) {
    for (const auto& mount : record.mounts) {
      if (mount.type != "volume" || mount.name != name) continue;
      return Fail(EBUSY, "volume", "remove " + name + ": volume is in use - [" + record.id + "]");
    }
  }
  auto removed = context.volumes.Remove(name);
  const bool force = exchange.request().QueryFlag("force");
  if (!removed && !(force && removed.error().code() == ENOENT)) return removed;
  if (removed) context.events.Publish({"volume", "destroy", name, {{"driver", "local"}}});
  return ReplyNothing(exchange, 204);
}

Result<> Prune(Exchange& exchange, const ApiContext& context) {
  STRATA_TRY_ASSIGN(const Filters filters, Filters::Parse(exchange.request(), {"all", "label"}));
  const auto& all = filters.Values("all");
  const bool named_too =
      exchange.request().api_minor < 42 || (!all.empty() && (all[0] == "true" || all[0] == "1"));
  const std::set<std::string> used = UsedVolumes(context);
  STRATA_TRY_ASSIGN(const auto volumes, context.volumes.List());
  json deleted = json::array();
  for (const auto& volume : volumes) {
    if (used.contains(volume.name) || (!named_too && !volume.anonymous) ||
        !filters.MatchLabels(volume.labels)) {
      continue;
    }
    STRATA_TRY(context.volumes.Remove(volume.name));
    deleted.push_back(volume.name);
  }
  return ReplyJson(exchange, 200, {{"VolumesDeleted", deleted}, {"SpaceReclaimed", 0}});
}

}  // namespace

void AddVolumeRoutes(Router& router, const ApiContext& context) {
  const auto add = [&](const char* method, const char* path, auto handler) {
    router.Add(method, path, [&context, handler](Exchange& e, const RouteParameters& p) {
      if constexpr (requires { handler(e, context, p.at("name")); }) {
        return handler(e, context, p.at("name"));
      } else {
        return handler(e, context);
      }
    });
  };
  add("GET", "/volumes", List);
  add("POST", "/volumes/create", Create);
  add("POST", "/volumes/prune", Prune);
  add("GET", "/volumes/{name}", Inspect);
  add("DELETE", "/volumes/{name}", Remove);
}

}  // namespace strata::manager
