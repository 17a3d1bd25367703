#include "manager/cli/run_options.h"

#include <fcntl.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file_ops.h"
#include "base/try.h"
#include "manager/cli/units.h"

namespace strata::manager::cli {
namespace {

using Kind = FlagSpec::Kind;

constexpr std::size_t kMaxEnvFile = 1UL * 1024 * 1024;

// "a=b" in two; without "=" the second part is empty.
std::pair<std::string, std::string> KeyAndValue(std::string_view text) {
  const auto equals = text.find('=');
  if (equals == std::string_view::npos) return {std::string(text), ""};
  return {std::string(text.substr(0, equals)), std::string(text.substr(equals + 1))};
}

std::vector<std::string_view> SplitList(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const auto end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

Json Map(const std::vector<std::string>& pairs) {
  Json map = Json::object();
  for (const auto& pair : pairs) {
    auto [key, value] = KeyAndValue(pair);
    map[key] = value;
  }
  return map;
}

Result<std::string> Absolute(std::string_view path) {
  std::error_code error;
  const auto absolute = std::filesystem::absolute(path, error);
  if (error) return Fail(error.value(), "path", std::string(path));
  return absolute.lexically_normal().string();
}

Result<> AddEnvironment(std::string_view entry, std::vector<std::string>& out) {
  if (entry.empty() || entry.front() == '=') {
    return UsageError("environment: '" + std::string(entry) + "' has no name");
  }
  if (entry.find('=') != std::string_view::npos) {
    out.emplace_back(entry);
  } else if (const char* value = std::getenv(std::string(entry).c_str()); value != nullptr) {
    out.push_back(std::string(entry) + "=" + value);
  }
  return {};
}

// true, false, or empty for true.
Result<bool> MountSwitch(const std::string& key, const std::string& value) {
  if (value.empty() || value == "true" || value == "1") return true;
  if (value == "false" || value == "0") return false;
  return UsageError("--mount: " + key + " is true or false, not '" + value + "'");
}

Result<> SetMountField(Json& mount, const std::string& key, const std::string& value) {
  if (key == "type") {
    mount["Type"] = value;
  } else if (key == "source" || key == "src") {
    mount["Source"] = value;
  } else if (key == "target" || key == "destination" || key == "dst") {
    mount["Target"] = value;
  } else if (key == "readonly" || key == "ro") {
    STRATA_TRY_ASSIGN(const bool on, MountSwitch(key, value));
    mount["ReadOnly"] = on;
  } else if (key == "volume-nocopy") {
    STRATA_TRY_ASSIGN(const bool on, MountSwitch(key, value));
    mount["VolumeOptions"]["NoCopy"] = on;
  } else if (key == "bind-propagation") {
    mount["BindOptions"]["Propagation"] = value;
  } else if (key == "tmpfs-size") {
    STRATA_TRY_ASSIGN(const std::int64_t size, ParseBytes(value));
    mount["TmpfsOptions"]["SizeBytes"] = size;
  } else if (key == "tmpfs-mode") {
    char* end = nullptr;
    const unsigned long mode = std::strtoul(value.c_str(), &end, 8);
    if (value.empty() || *end != '\0' || mode > 07777) {
      return UsageError("--mount: tmpfs-mode is octal, not '" + value + "'");
    }
    mount["TmpfsOptions"]["Mode"] = mode;
  } else {
    return UsageError("--mount: unknown field '" + key + "'");
  }
  return {};
}

Result<> AddStorage(const Flags& flags, Json& body, Json& host) {
  for (const auto& text : flags.List("volume")) {
    STRATA_TRY_ASSIGN(const VolumeOption volume, ParseVolume(text));
    if (!volume.anonymous.empty()) {
      body["Volumes"][volume.anonymous] = Json::object();
    } else {
      host["Binds"].push_back(volume.bind);
    }
  }
  for (const auto& text : flags.List("mount")) {
    STRATA_TRY_ASSIGN(Json mount, ParseMount(text));
    host["Mounts"].push_back(std::move(mount));
  }
  for (const auto& text : flags.List("tmpfs")) {
    const auto colon = text.find(':');
    host["Tmpfs"][text.substr(0, colon)] = colon == std::string::npos ? "" : text.substr(colon + 1);
  }
  return {};
}

// "soft[:hard]" of --ulimit NAME=…
Result<Json> ParseUlimit(const std::string& text) {
  const auto [name, limits] = KeyAndValue(text);
  const auto colon = limits.find(':');
  STRATA_TRY_ASSIGN(const std::int64_t soft, ParseNumber("ulimit", limits.substr(0, colon)));
  std::int64_t hard = soft;
  if (colon != std::string::npos) {
    STRATA_TRY_ASSIGN(hard, ParseNumber("ulimit", limits.substr(colon + 1)));
  }
  Json limit = Json::object();
  limit["Name"] = name;
  limit["Soft"] = soft;
  limit["Hard"] = hard;
  return limit;
}

// HOST[:CONTAINER[:PERMISSIONS]]
Json ParseDevice(const std::string& text) {
  const auto parts = SplitList(text, ':');
  Json device = Json::object();
  device["PathOnHost"] = parts[0];
  device["PathInContainer"] = parts.size() > 1 ? parts[1] : parts[0];
  device["CgroupPermissions"] = parts.size() > 2 ? parts[2] : "rwm";
  return device;
}

Result<Json> ParseRestart(const std::string& text) {
  const auto colon = text.find(':');
  Json policy = Json::object();
  policy["Name"] = text.substr(0, colon);
  if (colon != std::string::npos) {
    STRATA_TRY_ASSIGN(const std::int64_t retries, ParseNumber("restart", text.substr(colon + 1)));
    policy["MaximumRetryCount"] = retries;
  }
  return policy;
}

Result<> AddLimits(const Flags& flags, Json& host) {
  for (const auto& [flag, field] :
       {std::pair("memory", "Memory"), std::pair("shm-size", "ShmSize")}) {
    if (!flags.Has(flag)) continue;
    STRATA_TRY_ASSIGN(const std::int64_t bytes, ParseBytes(flags.Value(flag)));
    host[field] = bytes;
  }
  if (flags.Has("pids-limit")) {
    STRATA_TRY_ASSIGN(const std::int64_t limit,
                      ParseNumber("pids-limit", flags.Value("pids-limit")));
    host["PidsLimit"] = limit;
  }
  if (flags.Has("cpus")) {
    const std::string text = flags.Value("cpus");
    char* end = nullptr;
    const double cpus = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0' || !(cpus > 0) || cpus > 100'000) {
      return UsageError("option --cpus: '" + text + "' is not a number of CPUs");
    }
    host["NanoCpus"] = std::llround(cpus * 1e9);
  }
  for (const auto& text : flags.List("ulimit")) {
    STRATA_TRY_ASSIGN(Json limit, ParseUlimit(text));
    host["Ulimits"].push_back(std::move(limit));
  }
  for (const auto& text : flags.List("device")) host["Devices"].push_back(ParseDevice(text));
  return {};
}

Result<Json> HostBody(const Flags& flags, Json& body) {
  Json host = Json::object();
  host["NetworkMode"] = flags.Value("network", "default");
  for (const auto& [flag, field] :
       {std::pair("rm", "AutoRemove"), std::pair("read-only", "ReadonlyRootfs"),
        std::pair("privileged", "Privileged"), std::pair("init", "Init")}) {
    if (flags.On(flag)) host[field] = true;
  }
  for (const auto& [flag, field] :
       {std::pair("cap-add", "CapAdd"), std::pair("cap-drop", "CapDrop"),
        std::pair("security-opt", "SecurityOpt"), std::pair("group-add", "GroupAdd"),
        std::pair("add-host", "ExtraHosts"), std::pair("dns", "Dns")}) {
    if (flags.Has(flag)) host[field] = flags.List(flag);
  }
  for (const auto& [flag, field] :
       {std::pair("copy-up", "StrataCopyUp"), std::pair("pid", "PidMode"),
        std::pair("ipc", "IpcMode"), std::pair("uts", "UTSMode")}) {
    if (flags.Has(flag)) host[field] = flags.Value(flag);
  }
  if (flags.Has("sysctl")) host["Sysctls"] = Map(flags.List("sysctl"));
  if (flags.Has("log-opt")) {
    host["LogConfig"] = {{"Type", "json-file"}, {"Config", Map(flags.List("log-opt"))}};
  }
  if (flags.Has("restart")) {
    STRATA_TRY_ASSIGN(host["RestartPolicy"], ParseRestart(flags.Value("restart")));
  }
  STRATA_TRY(AddStorage(flags, body, host));
  STRATA_TRY(AddLimits(flags, host));
  return host;
}

}  // namespace

std::vector<FlagSpec> CreateFlags() {
  return {
      {"add-host", 0, Kind::kList, "NAME:IP", "add a line to /etc/hosts"},
      {"cap-add", 0, Kind::kList, "CAP", "add a capability"},
      {"cap-drop", 0, Kind::kList, "CAP", "drop a capability"},
      {"cidfile", 0, Kind::kValue, "FILE", "write the container's id to FILE", "", Names::kFile},
      {"copy-up", 0, Kind::kValue, "WHEN", "when a file of the image is copied into the container",
       "write|open|read"},
      {"cpus", 0, Kind::kValue, "N", "number of CPUs, may be a fraction"},
      {"device", 0, Kind::kList, "DEV", "give the container a device of the host"},
      {"dns", 0, Kind::kList, "IP", "name server"},
      {"entrypoint", 0, Kind::kValue, "PROGRAM", "instead of the image's entrypoint"},
      {"env", 'e', Kind::kList, "NAME[=VALUE]", "set an environment variable"},
      {"env-file", 0, Kind::kList, "FILE", "read environment variables from FILE", "",
       Names::kFile},
      {"group-add", 0, Kind::kList, "GROUP", "add a supplementary group"},
      {"hostname", 'h', Kind::kValue, "NAME", "the container's host name"},
      {"init", 0, Kind::kSwitch, "", "run an init that reaps processes"},
      {"interactive", 'i', Kind::kSwitch, "", "keep standard input open"},
      {"ipc", 0, Kind::kValue, "MODE", "IPC namespace", "private|shareable|host|none"},
      {"label", 'l', Kind::kList, "KEY[=VALUE]", "set a label"},
      {"log-opt", 0, Kind::kList, "NAME=VALUE", "option of the log, like max-size=10m"},
      {"memory", 'm', Kind::kValue, "SIZE", "memory limit, like 512m"},
      {"mount", 0, Kind::kList, "SPEC", "type=bind|volume|tmpfs,source=…,target=…[,readonly]"},
      {"name", 0, Kind::kValue, "NAME", "the container's name"},
      {"network", 0, Kind::kValue, "MODE", "none or host"},
      {"pid", 0, Kind::kValue, "MODE", "PID namespace", "host"},
      {"pids-limit", 0, Kind::kValue, "N", "limit of processes"},
      {"privileged", 0, Kind::kSwitch, "", "all capabilities and devices"},
      {"pull", 0, Kind::kValue, "WHEN", "pull the image before", "missing|always|never"},
      {"quiet", 'q', Kind::kSwitch, "", "do not show a pull's progress"},
      {"read-only", 0, Kind::kSwitch, "", "the root filesystem cannot be written"},
      {"restart", 0, Kind::kValue, "POLICY", "no, always, unless-stopped or on-failure[:N]"},
      {"rm", 0, Kind::kSwitch, "", "remove the container when it ends"},
      {"security-opt", 0, Kind::kList, "OPT", "no-new-privileges, or unconfined for seccomp"},
      {"shm-size", 0, Kind::kValue, "SIZE", "size of /dev/shm"},
      {"stop-signal", 0, Kind::kValue, "SIGNAL", "what `stop` sends"},
      {"stop-timeout", 0, Kind::kValue, "SECONDS", "how long `stop` waits"},
      {"sysctl", 0, Kind::kList, "NAME=VALUE", "kernel parameter of the namespace"},
      {"tmpfs", 0, Kind::kList, "PATH[:OPTIONS]", "mount a tmpfs"},
      {"tty", 't', Kind::kSwitch, "", "give the container a terminal"},
      {"ulimit", 0, Kind::kList, "NAME=SOFT[:HARD]", "resource limit"},
      {"user", 'u', Kind::kValue, "USER[:GROUP]", "run as this user"},
      {"uts", 0, Kind::kValue, "MODE", "UTS namespace", "host"},
      {"volume", 'v', Kind::kList, "SRC:DST[:ro]", "mount a directory or a named volume", "",
       Names::kVolume},
      {"workdir", 'w', Kind::kValue, "DIR", "working directory"},
  };
}

Result<std::vector<std::string>> CollectEnvironment(const std::vector<std::string>& files,
                                                    const std::vector<std::string>& options) {
  std::vector<std::string> environment;
  FileOps& ops = FileOps::System();
  for (const auto& path : files) {
    auto file = ops.Open(AT_FDCWD, path.c_str(), O_RDONLY);
    if (!file) return std::unexpected(std::move(file).error().WithContext(path));
    const auto text = ReadAll(ops, file->get(), kMaxEnvFile);
    if (!text) return Fail(text.error().code(), "read", path);
    for (std::string_view line : SplitList(*text, '\n')) {
      if (line.ends_with('\r')) line.remove_suffix(1);
      const auto first = line.find_first_not_of(" \t");
      if (first == std::string_view::npos || line[first] == '#') continue;
      STRATA_TRY(AddEnvironment(line.substr(first), environment));
    }
  }
  for (const auto& option : options) STRATA_TRY(AddEnvironment(option, environment));
  return environment;
}

Result<Json> ParseMount(std::string_view text) {
  Json mount = Json::object();
  mount["Type"] = "volume";
  for (const std::string_view field : SplitList(text, ',')) {
    const auto [key, value] = KeyAndValue(field);
    STRATA_TRY(SetMountField(mount, key, value));
  }
  const std::string type = TextAt(mount, "Type");
  if (type != "bind" && type != "volume" && type != "tmpfs") {
    return UsageError("--mount: type is bind, volume or tmpfs, not '" + type + "'");
  }
  if (TextAt(mount, "Target").empty()) return UsageError("--mount: target is missing");
  if (type == "bind") {
    const std::string source = TextAt(mount, "Source");
    if (source.empty()) return UsageError("--mount: a bind mount needs a source");
    STRATA_TRY_ASSIGN(mount["Source"], Absolute(source));
  }
  return mount;
}

Result<VolumeOption> ParseVolume(std::string_view text) {
  const auto colon = text.find(':');
  if (colon == std::string_view::npos) {
    if (!text.starts_with('/')) {
      return UsageError("--volume: '" + std::string(text) + "' is neither SRC:DST nor a path");
    }
    return VolumeOption{.bind = "", .anonymous = std::string(text)};
  }
  const std::string_view source = text.substr(0, colon);
  if (source.empty() || colon + 1 == text.size()) {
    return UsageError("--volume: '" + std::string(text) + "': a part is empty");
  }
  std::string bind(text);
  if (source.starts_with('.')) {
    STRATA_TRY_ASSIGN(const std::string absolute, Absolute(source));
    bind = absolute + std::string(text.substr(colon));
  }
  return VolumeOption{.bind = std::move(bind), .anonymous = ""};
}

Result<Json> ContainerBody(const Flags& flags) {
  Json body = Json::object();
  const auto& operands = flags.operands();
  body["Image"] = operands[0];
  if (operands.size() > 1) {
    body["Cmd"] = std::vector<std::string>(operands.begin() + 1, operands.end());
  }
  if (const auto entrypoint = flags.Optional("entrypoint")) {
    body["Entrypoint"] = std::vector<std::string>{*entrypoint};
  }
  STRATA_TRY_ASSIGN(const auto environment,
                    CollectEnvironment(flags.List("env-file"), flags.List("env")));
  body["Env"] = environment;
  for (const auto& [flag, field] :
       {std::pair("hostname", "Hostname"), std::pair("user", "User"),
        std::pair("workdir", "WorkingDir"), std::pair("stop-signal", "StopSignal")}) {
    if (flags.Has(flag)) body[field] = flags.Value(flag);
  }
  if (flags.Has("stop-timeout")) {
    STRATA_TRY_ASSIGN(const std::int64_t seconds,
                      ParseNumber("stop-timeout", flags.Value("stop-timeout")));
    body["StopTimeout"] = seconds;
  }
  body["Labels"] = Map(flags.List("label"));
  body["Tty"] = flags.On("tty");
  body["OpenStdin"] = flags.On("interactive");
  STRATA_TRY_ASSIGN(Json host, HostBody(flags, body));
  body["HostConfig"] = std::move(host);
  return body;
}

}  // namespace strata::manager::cli
