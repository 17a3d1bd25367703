#include "layerstore/oci/image_config.h"

#include <map>
#include <utility>

#include "base/try.h"
#include "layerstore/oci/json_reader.h"

namespace strata::layerstore {
namespace {

constexpr const char* kConfigOp = "image config";

Result<> ReadHealthCheck(const Json& json, ImageConfig& result) {
  JsonReader reader(json, kConfigOp);
  HealthCheck check;
  check.test = reader.Strings("Test");
  check.interval = reader.Integer("Interval");
  check.timeout = reader.Integer("Timeout");
  check.start_period = reader.Integer("StartPeriod");
  check.retries = reader.Integer("Retries");
  STRATA_TRY(reader.status());
  result.health_check = std::move(check);
  return {};
}

Result<> ReadExecution(const Json& json, ImageConfig& result) {
  JsonReader reader(json, kConfigOp);
  result.user = reader.String("User");
  result.exposed_ports = reader.Keys("ExposedPorts");
  result.env = reader.Strings("Env");
  result.entrypoint = reader.Strings("Entrypoint");
  result.cmd = reader.Strings("Cmd");
  result.volumes = reader.Keys("Volumes");
  result.working_dir = reader.String("WorkingDir");
  result.labels = reader.StringMap("Labels");
  result.stop_signal = reader.String("StopSignal");
  if (reader.Has("StopTimeout")) result.stop_timeout = reader.Integer("StopTimeout");
  result.shell = reader.Strings("Shell");
  result.on_build = reader.Strings("OnBuild");
  const Json* health = reader.Object("Healthcheck");
  STRATA_TRY(reader.status());
  if (health != nullptr) STRATA_TRY(ReadHealthCheck(*health, result));
  return {};
}

Result<> ReadRootfs(const Json& json, ImageConfig& result) {
  JsonReader reader(json, kConfigOp);
  const std::vector<std::string> ids = reader.Strings("diff_ids");
  if (ids.size() > kLayersMax) {
    reader.Fail("has more than " + std::to_string(kLayersMax) + " layers");
  }
  STRATA_TRY(reader.status());
  for (const std::string& id : ids) {
    auto digest = Digest::Parse(id);
    if (!digest) return std::unexpected(std::move(digest).error().WithContext("diff_ids"));
    result.diff_ids.push_back(*digest);
  }
  return {};
}

Result<> ReadHistory(const Json& list, ImageConfig& result) {
  for (const Json& item : list) {
    if (!item.is_object()) return Fail(EINVAL, kConfigOp, "a history entry is not an object");
    JsonReader reader(item, kConfigOp);
    HistoryEntry entry;
    entry.created = reader.String("created");
    entry.created_by = reader.String("created_by");
    entry.author = reader.String("author");
    entry.comment = reader.String("comment");
    entry.empty_layer = reader.Bool("empty_layer");
    STRATA_TRY(reader.status());
    result.history.push_back(std::move(entry));
  }
  return {};
}

// What configurations of all ages have.
Result<ImageConfig> ReadCommon(JsonReader& reader) {
  ImageConfig result;
  result.created = reader.String("created");
  result.author = reader.String("author");
  result.platform.os = reader.String("os");
  result.platform.architecture = reader.String("architecture");
  result.platform.variant = reader.String("variant");
  result.platform.os_version = reader.String("os.version");
  const Json* execution = reader.Object("config");
  STRATA_TRY(reader.status());
  if (execution != nullptr) STRATA_TRY(ReadExecution(*execution, result));
  return result;
}

void Put(OrderedJson& json, const char* key, const std::string& value) {
  if (!value.empty()) json[key] = value;
}

void Put(OrderedJson& json, const char* key, const std::vector<std::string>& value) {
  if (!value.empty()) json[key] = value;
}

void PutKeys(OrderedJson& json, const char* key, const std::vector<std::string>& names) {
  // Put in as a whole: one by one, each name would be searched for among those before it.
  std::map<std::string, OrderedJson> keys;
  for (const std::string& name : names) keys.emplace(name, OrderedJson::object());
  if (!keys.empty()) json[key] = keys;
}

OrderedJson WriteHealthCheck(const HealthCheck& check) {
  OrderedJson json;
  json["Test"] = check.test;
  if (check.interval != 0) json["Interval"] = check.interval;
  if (check.timeout != 0) json["Timeout"] = check.timeout;
  if (check.start_period != 0) json["StartPeriod"] = check.start_period;
  if (check.retries != 0) json["Retries"] = check.retries;
  return json;
}

OrderedJson WriteExecution(const ImageConfig& config) {
  OrderedJson json = OrderedJson::object();
  Put(json, "User", config.user);
  PutKeys(json, "ExposedPorts", config.exposed_ports);
  Put(json, "Env", config.env);
  Put(json, "Entrypoint", config.entrypoint);
  Put(json, "Cmd", config.cmd);
  PutKeys(json, "Volumes", config.volumes);
  Put(json, "WorkingDir", config.working_dir);
  if (!config.labels.empty()) json["Labels"] = config.labels;
  Put(json, "StopSignal", config.stop_signal);
  if (config.stop_timeout) json["StopTimeout"] = *config.stop_timeout;
  Put(json, "Shell", config.shell);
  Put(json, "OnBuild", config.on_build);
  if (config.health_check) json["Healthcheck"] = WriteHealthCheck(*config.health_check);
  return json;
}

// What ReadCommon() reads.
void PutCommon(OrderedJson& json, const ImageConfig& config) {
  Put(json, "created", config.created);
  Put(json, "author", config.author);
  json["architecture"] = config.platform.architecture;
  Put(json, "variant", config.platform.variant);
  json["os"] = config.platform.os;
  Put(json, "os.version", config.platform.os_version);
  json["config"] = WriteExecution(config);
}

OrderedJson WriteHistory(const HistoryEntry& entry) {
  OrderedJson json = OrderedJson::object();
  Put(json, "created", entry.created);
  Put(json, "created_by", entry.created_by);
  Put(json, "author", entry.author);
  Put(json, "comment", entry.comment);
  if (entry.empty_layer) json["empty_layer"] = true;
  return json;
}

}  // namespace

Result<ImageConfig> ParseImageConfig(std::string_view text) {
  STRATA_TRY_ASSIGN(const Json object, ParseJsonObject(text, kConfigBytesMax, kConfigOp));
  JsonReader reader(object, kConfigOp);
  STRATA_TRY_ASSIGN(ImageConfig result, ReadCommon(reader));
  const Json* rootfs = reader.Object("rootfs");
  const Json* history = reader.Array("history");
  STRATA_TRY(reader.status());
  if (rootfs == nullptr) return Fail(EINVAL, kConfigOp, "has no rootfs");
  STRATA_TRY(ReadRootfs(*rootfs, result));
  if (history != nullptr) STRATA_TRY(ReadHistory(*history, result));
  return result;
}

Result<LegacyImage> ParseLegacyImage(std::string_view text) {
  STRATA_TRY_ASSIGN(const Json object, ParseJsonObject(text, kConfigBytesMax, kConfigOp));
  JsonReader reader(object, kConfigOp);
  LegacyImage result;
  STRATA_TRY_ASSIGN(result.config, ReadCommon(reader));
  result.parent = reader.String("parent");
  STRATA_TRY(reader.status());
  return result;
}

std::string LegacyImage::ToJson(const std::string& id) const {
  OrderedJson json;
  json["id"] = id;
  Put(json, "parent", parent);
  PutCommon(json, config);
  return DumpJson(json);
}

std::string ImageConfig::ToJson() const {
  OrderedJson json;
  PutCommon(json, *this);
  OrderedJson& rootfs = json["rootfs"];
  rootfs["type"] = "layers";
  OrderedJson& ids = rootfs["diff_ids"] = OrderedJson::array();
  for (const Digest& id : diff_ids) ids.push_back(id.ToString());
  for (const HistoryEntry& entry : history) json["history"].push_back(WriteHistory(entry));
  return DumpJson(json);
}

Digest ChainId(std::span<const Digest> diff_ids) {
  return diff_ids.empty() ? Digest() : ChainIds(diff_ids).back();
}

std::vector<Digest> ChainIds(std::span<const Digest> diff_ids) {
  std::vector<Digest> chain;
  for (const Digest& diff_id : diff_ids) {
    chain.push_back(chain.empty() ? diff_id
                                  : Digest::Of(chain.back().ToString() + ' ' + diff_id.ToString()));
  }
  return chain;
}

}  // namespace strata::layerstore
