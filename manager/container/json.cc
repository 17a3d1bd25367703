#include "manager/container/json.h"

#include <array>
#include <ctime>

#include "base/try.h"
#include "manager/container/json_fields.h"

namespace strata::manager {
namespace {

using nlohmann::json;

struct PolicyName {
  RestartPolicy::Kind kind;
  const char* name;
};
constexpr std::array kPolicies{PolicyName{RestartPolicy::Kind::kNo, "no"},
                               PolicyName{RestartPolicy::Kind::kAlways, "always"},
                               PolicyName{RestartPolicy::Kind::kOnFailure, "on-failure"},
                               PolicyName{RestartPolicy::Kind::kUnlessStopped, "unless-stopped"}};

struct CopyUpName {
  CopyUp policy;
  const char* name;
};
constexpr std::array kCopyUps{CopyUpName{CopyUp::kWrite, "write"},
                              CopyUpName{CopyUp::kOpen, "open"}, CopyUpName{CopyUp::kRead, "read"}};

void ReadRestartPolicy(JsonFields& fields, RestartPolicy& policy) {
  std::string name;
  fields.Get("Name", name);
  fields.Get("MaximumRetryCount", policy.maximum_retries);
  if (name.empty()) return;
  for (const auto& known : kPolicies) {
    if (name == known.name) {
      policy.kind = known.kind;
      return;
    }
  }
  fields.Bad("Name", "one of no, always, on-failure, unless-stopped");
}

void ReadCopyUp(JsonFields& fields, CopyUp& policy) {
  std::string name;
  fields.Get("StrataCopyUp", name);
  if (name.empty()) return;
  for (const auto& known : kCopyUps) {
    if (name == known.name) {
      policy = known.policy;
      return;
    }
  }
  fields.Bad("StrataCopyUp", "one of write, open, read");
}

void ReadMount(JsonFields& fields, MountRequest& mount) {
  fields.Get("Type", mount.type);
  fields.Get("Source", mount.source);
  fields.Get("Target", mount.target);
  fields.Get("ReadOnly", mount.read_only);
  fields.Within("BindOptions", [&](JsonFields& options) {
    options.Get("Propagation", mount.propagation);
    options.Get("CreateMountpoint", mount.create_mountpoint);
  });
  fields.Within("VolumeOptions",
                [&](JsonFields& options) { options.Get("NoCopy", mount.no_copy); });
  fields.Within("TmpfsOptions", [&](JsonFields& options) {
    options.Get("SizeBytes", mount.tmpfs_size);
    options.Get("Mode", mount.tmpfs_mode);
  });
}

void ReadPortBindings(JsonFields& fields, HostConfig& host) {
  const json* ports = fields.Find("PortBindings");
  if (ports == nullptr) return;
  if (!ports->is_object()) return fields.Bad("PortBindings", "an object");
  for (const auto& [port, bindings] : ports->items()) {
    auto& list = host.port_bindings[port];
    if (!bindings.is_array()) continue;
    for (const auto& binding : bindings) {
      JsonFields entry(binding);
      std::string ip;
      std::string host_port;
      entry.Get("HostIp", ip);
      entry.Get("HostPort", host_port);
      if (!entry.Finish()) return fields.Bad("PortBindings", "HostIp and HostPort strings");
      list.push_back(ip + ':' + host_port);
    }
  }
}

void ReadConsoleSize(JsonFields& fields, std::uint16_t& rows, std::uint16_t& columns) {
  const json* size = fields.Find("ConsoleSize");
  if (size == nullptr) return;
  const auto valid = [](const json& n) {
    return n.is_number_unsigned() && n.get<std::uint64_t>() < 65536;
  };
  if (!size->is_array() || size->size() != 2 || !valid((*size)[0]) || !valid((*size)[1])) {
    return fields.Bad("ConsoleSize", "[height, width]");
  }
  rows = (*size)[0].get<std::uint16_t>();
  columns = (*size)[1].get<std::uint16_t>();
}

void ReadLimits(JsonFields& fields, HostConfig& host) {
  fields.Get("Memory", host.memory);
  fields.Get("MemorySwap", host.memory_swap);
  fields.Get("MemoryReservation", host.memory_reservation);
  fields.Get("NanoCpus", host.nano_cpus);
  fields.Get("CpuShares", host.cpu_shares);
  fields.Get("CpuPeriod", host.cpu_period);
  fields.Get("CpuQuota", host.cpu_quota);
  fields.Get("CpusetCpus", host.cpuset_cpus);
  fields.Get("CpusetMems", host.cpuset_mems);
  fields.Get("PidsLimit", host.pids_limit);
  fields.Get("ShmSize", host.shm_size);
  fields.Get("OomScoreAdj", host.oom_score_adj);
  fields.ForEach("Ulimits", [&](JsonFields& item) {
    Ulimit limit;
    item.Get("Name", limit.name);
    item.Get("Soft", limit.soft);
    item.Get("Hard", limit.hard);
    host.ulimits.push_back(std::move(limit));
  });
}

void ReadSecurity(JsonFields& fields, HostConfig& host) {
  fields.Get("Privileged", host.privileged);
  fields.Get("ReadonlyRootfs", host.readonly_rootfs);
  fields.Get("CapAdd", host.cap_add);
  fields.Get("CapDrop", host.cap_drop);
  fields.Get("GroupAdd", host.group_add);
  fields.Get("SecurityOpt", host.security_opt);
  fields.Get("MaskedPaths", host.masked_paths);
  fields.Get("ReadonlyPaths", host.readonly_paths);
  fields.Get("Sysctls", host.sysctls);
  fields.ForEach("Devices", [&](JsonFields& item) {
    DeviceRequest device;
    item.Get("PathOnHost", device.host_path);
    item.Get("PathInContainer", device.container_path);
    item.Get("CgroupPermissions", device.permissions);
    host.devices.push_back(std::move(device));
  });
}

json KeySet(const std::vector<std::string>& names) {
  json object = json::object();
  for (const auto& name : names) object[name] = json::object();
  return object;
}

json ListOrNull(const std::vector<std::string>& list) {
  return list.empty() ? json(nullptr) : json(list);
}

json MountRequestJson(const MountRequest& mount) {
  json object{{"Type", mount.type}, {"Target", mount.target}};
  if (!mount.source.empty()) object["Source"] = mount.source;
  if (mount.read_only) object["ReadOnly"] = true;
  if (!mount.propagation.empty()) object["BindOptions"]["Propagation"] = mount.propagation;
  if (mount.create_mountpoint) object["BindOptions"]["CreateMountpoint"] = true;
  if (mount.no_copy) object["VolumeOptions"]["NoCopy"] = true;
  if (mount.tmpfs_size != 0) object["TmpfsOptions"]["SizeBytes"] = mount.tmpfs_size;
  if (mount.tmpfs_mode) object["TmpfsOptions"]["Mode"] = *mount.tmpfs_mode;
  return object;
}

json PortBindingsJson(const HostConfig& host) {
  json object = json::object();
  for (const auto& [port, bindings] : host.port_bindings) {
    object[port] = json::array();
    for (const auto& binding : bindings) {
      const std::size_t colon = binding.rfind(':');
      object[port].push_back(
          {{"HostIp", binding.substr(0, colon)}, {"HostPort", binding.substr(colon + 1)}});
    }
  }
  return object;
}

const char* PolicyText(RestartPolicy::Kind kind) {
  for (const auto& known : kPolicies) {
    if (known.kind == kind) return known.name;
  }
  return "no";
}

const char* CopyUpText(CopyUp policy) {
  for (const auto& known : kCopyUps) {
    if (known.policy == policy) return known.name;
  }
  return "write";
}

}  // namespace

Result<ContainerConfig> ParseContainerConfig(const json& object) {
  ContainerConfig config;
  JsonFields fields(object);
  fields.Get("Hostname", config.hostname);
  fields.Get("Domainname", config.domainname);
  fields.Get("User", config.user);
  fields.Get("AttachStdin", config.attach_stdin);
  fields.Get("AttachStdout", config.attach_stdout);
  fields.Get("AttachStderr", config.attach_stderr);
  fields.Get("Tty", config.tty);
  fields.Get("OpenStdin", config.open_stdin);
  fields.Get("StdinOnce", config.stdin_once);
  fields.Get("Env", config.env);
  fields.Get("Cmd", config.cmd);
  fields.Get("Entrypoint", config.entrypoint);
  fields.Get("Image", config.image);
  fields.GetKeys("Volumes", config.volumes);
  fields.GetKeys("ExposedPorts", config.exposed_ports);
  fields.Get("WorkingDir", config.working_dir);
  fields.Get("Labels", config.labels);
  fields.Get("StopSignal", config.stop_signal);
  fields.Get("StopTimeout", config.stop_timeout);
  STRATA_TRY(fields.Finish());
  return config;
}

Result<HostConfig> ParseHostConfig(const json& object) {
  HostConfig host;
  JsonFields fields(object);
  fields.Get("Binds", host.binds);
  fields.ForEach("Mounts", [&](JsonFields& item) { ReadMount(item, host.mounts.emplace_back()); });
  fields.Get("Tmpfs", host.tmpfs);
  fields.Get("NetworkMode", host.network_mode);
  if (host.network_mode.empty()) host.network_mode = "default";
  fields.Within("RestartPolicy",
                [&](JsonFields& policy) { ReadRestartPolicy(policy, host.restart); });
  fields.Get("AutoRemove", host.auto_remove);
  fields.Get("PublishAllPorts", host.publish_all_ports);
  ReadPortBindings(fields, host);
  ReadSecurity(fields, host);
  fields.Get("Dns", host.dns);
  fields.Get("DnsOptions", host.dns_options);
  fields.Get("DnsSearch", host.dns_search);
  fields.Get("ExtraHosts", host.extra_hosts);
  fields.Get("PidMode", host.pid_mode);
  fields.Get("IpcMode", host.ipc_mode);
  fields.Get("UTSMode", host.uts_mode);
  fields.Within("LogConfig", [&](JsonFields& log) {
    log.Get("Type", host.log_driver);
    log.Get("Config", host.log_options);
  });
  if (host.log_driver.empty()) host.log_driver = "json-file";
  fields.Get("Init", host.init);
  ReadConsoleSize(fields, host.console_rows, host.console_columns);
  ReadLimits(fields, host);
  ReadCopyUp(fields, host.copy_up);
  std::vector<std::string> volumes_from;
  fields.Get("VolumesFrom", volumes_from);
  if (!volumes_from.empty()) fields.Bad("VolumesFrom", "an empty list (not supported)");
  STRATA_TRY(fields.Finish());
  return host;
}

Result<ExecConfig> ParseExecConfig(const json& object) {
  ExecConfig config;
  JsonFields fields(object);
  fields.Get("Cmd", config.cmd);
  fields.Get("Env", config.env);
  fields.Get("User", config.user);
  fields.Get("WorkingDir", config.working_dir);
  fields.Get("Tty", config.tty);
  fields.Get("AttachStdin", config.attach_stdin);
  fields.Get("AttachStdout", config.attach_stdout);
  fields.Get("AttachStderr", config.attach_stderr);
  fields.Get("Privileged", config.privileged);
  fields.Get("DetachKeys", config.detach_keys);
  ReadConsoleSize(fields, config.console_rows, config.console_columns);
  STRATA_TRY(fields.Finish());
  return config;
}

json ToJson(const ContainerConfig& config) {
  json object{{"Hostname", config.hostname},
              {"Domainname", config.domainname},
              {"User", config.user},
              {"AttachStdin", config.attach_stdin},
              {"AttachStdout", config.attach_stdout},
              {"AttachStderr", config.attach_stderr},
              {"Tty", config.tty},
              {"OpenStdin", config.open_stdin},
              {"StdinOnce", config.stdin_once},
              {"Env", config.env},
              {"Cmd", config.cmd ? json(*config.cmd) : json(nullptr)},
              {"Image", config.image},
              {"Volumes", config.volumes.empty() ? json(nullptr) : KeySet(config.volumes)},
              {"WorkingDir", config.working_dir},
              {"Entrypoint", config.entrypoint ? json(*config.entrypoint) : json(nullptr)},
              {"OnBuild", nullptr},
              {"Labels", config.labels}};
  if (!config.exposed_ports.empty()) object["ExposedPorts"] = KeySet(config.exposed_ports);
  if (!config.stop_signal.empty()) object["StopSignal"] = config.stop_signal;
  if (config.stop_timeout) object["StopTimeout"] = *config.stop_timeout;
  return object;
}

json ToJson(const HostConfig& host) {
  json object{{"Binds", ListOrNull(host.binds)},
              {"ContainerIDFile", ""},
              {"LogConfig", {{"Type", host.log_driver}, {"Config", host.log_options}}},
              {"NetworkMode", host.network_mode},
              {"PortBindings", PortBindingsJson(host)},
              {"RestartPolicy",
               {{"Name", PolicyText(host.restart.kind)},
                {"MaximumRetryCount", host.restart.maximum_retries}}},
              {"AutoRemove", host.auto_remove},
              {"VolumeDriver", ""},
              {"VolumesFrom", nullptr},
              {"ConsoleSize", {host.console_rows, host.console_columns}},
              {"CapAdd", ListOrNull(host.cap_add)},
              {"CapDrop", ListOrNull(host.cap_drop)},
              {"CgroupnsMode", "host"},
              {"Dns", host.dns},
              {"DnsOptions", host.dns_options},
              {"DnsSearch", host.dns_search},
              {"ExtraHosts", ListOrNull(host.extra_hosts)},
              {"GroupAdd", ListOrNull(host.group_add)},
              {"IpcMode", host.ipc_mode.empty() ? "private" : host.ipc_mode},
              {"OomScoreAdj", host.oom_score_adj.value_or(0)},
              {"PidMode", host.pid_mode},
              {"Privileged", host.privileged},
              {"PublishAllPorts", host.publish_all_ports},
              {"ReadonlyRootfs", host.readonly_rootfs},
              {"SecurityOpt", ListOrNull(host.security_opt)},
              {"UTSMode", host.uts_mode},
              {"UsernsMode", ""},
              {"ShmSize", host.shm_size},
              {"Runtime", "runc"},
              {"Isolation", ""},
              {"CpuShares", host.cpu_shares},
              {"Memory", host.memory},
              {"NanoCpus", host.nano_cpus},
              {"CgroupParent", ""},
              {"CpuPeriod", host.cpu_period},
              {"CpuQuota", host.cpu_quota},
              {"CpusetCpus", host.cpuset_cpus},
              {"CpusetMems", host.cpuset_mems},
              {"MemoryReservation", host.memory_reservation},
              {"MemorySwap", host.memory_swap},
              {"PidsLimit", host.pids_limit == 0 ? json(nullptr) : json(host.pids_limit)},
              {"Init", host.init},
              {"StrataCopyUp", CopyUpText(host.copy_up)}};
  if (!host.tmpfs.empty()) object["Tmpfs"] = host.tmpfs;
  if (!host.sysctls.empty()) object["Sysctls"] = host.sysctls;
  if (host.masked_paths) object["MaskedPaths"] = *host.masked_paths;
  if (host.readonly_paths) object["ReadonlyPaths"] = *host.readonly_paths;
  for (const auto& mount : host.mounts) object["Mounts"].push_back(MountRequestJson(mount));
  object["Devices"] = json::array();
  for (const auto& device : host.devices) {
    object["Devices"].push_back({{"PathOnHost", device.host_path},
                                 {"PathInContainer", device.container_path},
                                 {"CgroupPermissions", device.permissions}});
  }
  object["Ulimits"] = json::array();
  for (const auto& limit : host.ulimits) {
    object["Ulimits"].push_back({{"Name", limit.name}, {"Soft", limit.soft}, {"Hard", limit.hard}});
  }
  return object;
}

json ToJson(const MountPoint& mount) {
  json object{{"Type", mount.type}, {"Source", mount.source}, {"Destination", mount.destination},
              {"Mode", mount.mode}, {"RW", mount.read_write}, {"Propagation", mount.propagation}};
  if (!mount.name.empty()) {
    object["Name"] = mount.name;
    object["Driver"] = "local";
  }
  return object;
}

std::string TimeText(std::int64_t ns) {
  if (ns <= 0) return "0001-01-01T00:00:00Z";
  constexpr std::int64_t kBillion = 1'000'000'000;
  const std::time_t seconds = ns / kBillion;
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  const std::size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  const std::string digits = std::to_string(kBillion + ns % kBillion);
  return std::string(text.data(), length) + '.' + digits.substr(1) + 'Z';
}

}  // namespace strata::manager
