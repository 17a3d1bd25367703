// The database's form of a container record. Field names are part of the format in
// "manager.container" version 1; new fields are added, none is given another meaning.
#include "base/try.h"
#include "manager/container/json.h"
#include "manager/container/json_fields.h"

namespace strata::manager {
namespace {

using nlohmann::json;

struct StatusText {
  Status status;
  const char* name;
};
constexpr std::array kStatuses{
    StatusText{Status::kCreated, "created"},   StatusText{Status::kRunning, "running"},
    StatusText{Status::kPaused, "paused"},     StatusText{Status::kExited, "exited"},
    StatusText{Status::kRemoving, "removing"}, StatusText{Status::kDead, "dead"}};

json StateJson(const ContainerState& state) {
  return {{"status", StatusName(state.status)},
          {"pid", state.pid},
          {"exit_code", state.exit_code},
          {"oom_killed", state.oom_killed},
          {"manually_stopped", state.manually_stopped},
          {"error", state.error},
          {"started_ns", state.started_ns},
          {"finished_ns", state.finished_ns}};
}

void ReadState(JsonFields& fields, ContainerState& state) {
  std::string status;
  fields.Get("status", status);
  bool known = false;
  for (const auto& entry : kStatuses) {
    if (status == entry.name) {
      state.status = entry.status;
      known = true;
    }
  }
  if (!known) fields.Bad("status", "a container status");
  fields.Get("pid", state.pid);
  fields.Get("exit_code", state.exit_code);
  fields.Get("oom_killed", state.oom_killed);
  fields.Get("manually_stopped", state.manually_stopped);
  fields.Get("error", state.error);
  fields.Get("started_ns", state.started_ns);
  fields.Get("finished_ns", state.finished_ns);
}

json MountRecord(const MountPoint& mount) {
  return {{"type", mount.type},
          {"name", mount.name},
          {"source", mount.source},
          {"destination", mount.destination},
          {"read_write", mount.read_write},
          {"mode", mount.mode},
          {"propagation", mount.propagation},
          {"no_copy", mount.no_copy},
          {"anonymous", mount.anonymous},
          {"create_mountpoint", mount.create_mountpoint},
          {"tmpfs_options", mount.tmpfs_options}};
}

void ReadMountRecord(JsonFields& fields, MountPoint& mount) {
  fields.Get("type", mount.type);
  fields.Get("name", mount.name);
  fields.Get("source", mount.source);
  fields.Get("destination", mount.destination);
  fields.Get("read_write", mount.read_write);
  fields.Get("mode", mount.mode);
  fields.Get("propagation", mount.propagation);
  fields.Get("no_copy", mount.no_copy);
  fields.Get("anonymous", mount.anonymous);
  fields.Get("create_mountpoint", mount.create_mountpoint);
  fields.Get("tmpfs_options", mount.tmpfs_options);
}

}  // namespace

const char* StatusName(Status status) {
  for (const auto& entry : kStatuses) {
    if (entry.status == status) return entry.name;
  }
  return "dead";
}

std::string RecordToText(const ContainerRecord& record) {
  json object{{"id", record.id},
              {"name", record.name},
              {"created_ns", record.created_ns},
              {"image_id", record.image_id.ToString()},
              {"image_name", record.image_name},
              {"config", ToJson(record.config)},
              {"host", ToJson(record.host)},
              {"args", record.args},
              {"env", record.env},
              {"layers", record.layers},
              {"restart_count", record.restart_count},
              {"state", StateJson(record.state)}};
  object["mounts"] = json::array();
  for (const auto& mount : record.mounts) object["mounts"].push_back(MountRecord(mount));
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<ContainerRecord> RecordFromText(const std::string& text) {
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object()) return Fail(EBADMSG, "container record", "not a JSON object");
  ContainerRecord record;
  JsonFields fields(object);
  std::string image_id;
  fields.Get("id", record.id);
  fields.Get("name", record.name);
  fields.Get("created_ns", record.created_ns);
  fields.Get("image_id", image_id);
  fields.Get("image_name", record.image_name);
  fields.Get("args", record.args);
  fields.Get("env", record.env);
  fields.Get("layers", record.layers);
  fields.Get("restart_count", record.restart_count);
  fields.Within("state", [&](JsonFields& state) { ReadState(state, record.state); });
  fields.ForEach("mounts",
                 [&](JsonFields& mount) { ReadMountRecord(mount, record.mounts.emplace_back()); });
  STRATA_TRY(fields.Finish());
  STRATA_TRY_ASSIGN(record.image_id, Digest::Parse(image_id));
  STRATA_TRY_ASSIGN(record.config, ParseContainerConfig(object.value("config", json::object())));
  STRATA_TRY_ASSIGN(record.host, ParseHostConfig(object.value("host", json::object())));
  return record;
}

}  // namespace strata::manager
