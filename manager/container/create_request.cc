#include "manager/container/create_request.h"

#include <signal.h>
#include <string.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <string_view>

#include "base/try.h"
#include "layerstore/oci/image_config.h"
#include "manager/container/host_names.h"
#include "manager/container/security_options.h"
#include "manager/image/image_service.h"

namespace strata::manager {
namespace {

using layerstore::EnvName;

// Later entries replace earlier ones of the same name; an entry without '=' takes the name away.
void MergeEnv(std::vector<std::string>& env, const std::vector<std::string>& more) {
  for (const auto& entry : more) {
    const auto same = std::ranges::find_if(
        env, [&](const std::string& other) { return EnvName(other) == EnvName(entry); });
    const bool removes = entry.find('=') == std::string::npos;
    if (removes) {
      if (same != env.end()) env.erase(same);
    } else if (same != env.end()) {
      *same = entry;
    } else {
      env.push_back(entry);
    }
  }
}

void MergeLists(std::vector<std::string>& into, const std::vector<std::string>& from) {
  for (const auto& item : from) {
    if (std::ranges::find(into, item) == into.end()) into.push_back(item);
  }
}

bool IsReset(const std::vector<std::string>& entrypoint) {
  return entrypoint.size() == 1 && entrypoint[0].empty();
}

std::vector<std::string> MergeCommand(const ContainerDefaults& image, ContainerConfig& config) {
  const bool own_entrypoint = config.entrypoint && !config.entrypoint->empty();
  if (!own_entrypoint) {
    if (!config.cmd || config.cmd->empty()) config.cmd = image.cmd;
    if (!config.entrypoint) config.entrypoint = image.entrypoint;
  } else if (IsReset(*config.entrypoint)) {
    config.entrypoint = std::vector<std::string>();
  }
  std::vector<std::string> args = config.entrypoint.value_or(std::vector<std::string>());
  const std::vector<std::string> cmd = config.cmd.value_or(std::vector<std::string>());
  args.insert(args.end(), cmd.begin(), cmd.end());
  return args;
}

// The destination without double slashes, "." and trailing slash; EINVAL unless it is absolute, has
// no ".." and is not the root.
Result<std::string> CleanDestination(const std::string& path) {
  if (!path.starts_with('/')) {
    return Fail(
        EINVAL, "mount",
        "invalid mount config: invalid mount path: '" + path + "' mount path must be absolute");
  }
  std::string clean;
  std::string_view rest(path);
  while (!rest.empty()) {
    const std::size_t end = rest.find('/');
    const std::string_view part = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      return Fail(EINVAL, "mount", "invalid mount config: '" + path + "' must not contain '..'");
    }
    clean.append("/").append(part);
  }
  if (clean.empty()) {
    return Fail(EINVAL, "mount", "invalid mount config: destination can't be '/'");
  }
  return clean;
}

std::vector<std::string> SplitText(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

bool IsPropagation(std::string_view word) {
  return word == "private" || word == "rprivate" || word == "shared" || word == "rshared" ||
         word == "slave" || word == "rslave";
}

// "SRC:DST[:OPTIONS]"
Result<MountPoint> ParseBind(const std::string& text) {
  const auto parts = SplitText(text, ':');
  if (parts.size() < 2 || parts.size() > 3 || parts[0].empty() || parts[1].empty()) {
    return Fail(EINVAL, "mount", "invalid volume specification: '" + text + "'");
  }
  MountPoint mount;
  if (parts[0].starts_with('/')) {
    mount.type = "bind";
    mount.source = parts[0];
    mount.create_mountpoint = true;
    mount.propagation = "rprivate";
  } else {
    mount.type = "volume";
    mount.name = parts[0];
  }
  STRATA_TRY_ASSIGN(mount.destination, CleanDestination(parts[1]));
  if (parts.size() == 2) return mount;
  mount.mode = parts[2];
  for (const auto& option : SplitText(parts[2], ',')) {
    if (option == "ro") {
      mount.read_write = false;
    } else if (option == "nocopy") {
      mount.no_copy = true;
    } else if (IsPropagation(option)) {
      mount.propagation = option;
    } else if (option != "rw" && option != "z" && option != "Z" && option != "consistent" &&
               option != "cached" && option != "delegated") {
      return Fail(EINVAL, "mount",
                  "invalid volume specification: '" + text + "': invalid mode: " + option);
    }
  }
  return mount;
}

Result<MountPoint> ParseMountRequest(const MountRequest& request) {
  MountPoint mount;
  mount.type = request.type;
  mount.read_write = !request.read_only;
  STRATA_TRY_ASSIGN(mount.destination, CleanDestination(request.target));
  if (request.type == "bind") {
    if (!request.source.starts_with('/')) {
      return Fail(EINVAL, "mount",
                  "invalid mount config for type \"bind\": invalid mount path: '" + request.source +
                      "' mount path must be absolute");
    }
    mount.source = request.source;
    mount.create_mountpoint = request.create_mountpoint;
    mount.propagation = request.propagation.empty() ? "rprivate" : request.propagation;
    if (!IsPropagation(mount.propagation)) {
      return Fail(EINVAL, "mount", "invalid propagation mode: " + mount.propagation);
    }
  } else if (request.type == "volume") {
    mount.name = request.source;
    mount.no_copy = request.no_copy;
    mount.anonymous = request.source.empty();
  } else if (request.type == "tmpfs") {
    if (request.tmpfs_size > 0) {
      mount.tmpfs_options = "size=" + std::to_string(request.tmpfs_size);
    }
    if (request.tmpfs_mode) {
      std::array<char, 16> octal{};
      const auto end =
          std::to_chars(octal.data(), octal.data() + octal.size(), *request.tmpfs_mode & 07777U, 8);
      mount.tmpfs_options +=
          (mount.tmpfs_options.empty() ? "mode=" : ",mode=") + std::string(octal.data(), end.ptr);
    }
  } else {
    return Fail(EINVAL, "mount", "invalid mount config: unknown mount type '" + request.type + "'");
  }
  return mount;
}

}  // namespace

Result<int> ParseSignal(const std::string& text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size()) {
    if (number > 0 && number < NSIG) return number;
    return Fail(EINVAL, "signal", "invalid signal: " + text);
  }
  std::string name;
  for (const char c : text) {
    name.push_back(static_cast<char>(std::toupper(static_cast<unsigned char>(c))));
  }
  if (name.starts_with("SIG")) name.erase(0, 3);
  for (int signal = 1; signal < NSIG; ++signal) {
    const char* known = ::sigabbrev_np(signal);
    if (known != nullptr && name == known) return signal;
  }
  if (name == "RTMIN") return SIGRTMIN;
  if (name == "RTMAX") return SIGRTMAX;
  int offset = 0;
  if (name.starts_with("RTMIN+") &&
      std::from_chars(name.data() + 6, name.data() + name.size(), offset).ec == std::errc() &&
      offset > 0 && SIGRTMIN + offset <= SIGRTMAX) {
    return SIGRTMIN + offset;
  }
  return Fail(EINVAL, "signal", "invalid signal: " + text);
}

Result<> MergeImageDefaults(const ContainerDefaults& image, ContainerRecord& record) {
  ContainerConfig& config = record.config;
  record.args = MergeCommand(image, config);
  if (record.args.empty() || record.args[0].empty()) {
    return Fail(EINVAL, "create", "no command specified");
  }
  if (config.user.empty()) config.user = image.user;
  if (config.working_dir.empty()) config.working_dir = image.working_dir;
  if (config.working_dir.empty()) config.working_dir = "/";
  if (!config.working_dir.starts_with('/')) {
    return Fail(EINVAL, "create",
                "the working directory '" + config.working_dir +
                    "' is invalid, it needs to be an absolute path");
  }
  // A descriptor the runtime holds would lead to the host (CVE-2024-21626).
  if (config.working_dir.starts_with("/proc/") || config.working_dir.starts_with("//") ||
      config.working_dir.find("/..") != std::string::npos) {
    return Fail(EINVAL, "create",
                "the working directory '" + config.working_dir + "' is not allowed");
  }
  for (const auto& [key, value] : image.labels) config.labels.try_emplace(key, value);
  MergeLists(config.volumes, image.volumes);
  MergeLists(config.exposed_ports, image.exposed_ports);
  if (config.stop_signal.empty()) config.stop_signal = image.stop_signal;
  if (!config.stop_timeout) config.stop_timeout = image.stop_timeout;
  if (!config.stop_signal.empty()) STRATA_TRY(ParseSignal(config.stop_signal));

  std::vector<std::string> env = image.env;
  MergeEnv(env, config.env);
  config.env = env;
  // HOSTNAME and TERM are what docker adds; the client's and the image's own win.
  record.env = {"HOSTNAME=" + config.hostname};
  if (config.tty) record.env.emplace_back("TERM=xterm");
  MergeEnv(record.env, env);
  return {};
}

std::string PlatformWarning(const layerstore::Platform& image) {
  const layerstore::Platform host = layerstore::HostPlatform();
  if (image.os.empty() || image.architecture.empty() || layerstore::PlatformMatches(host, image)) {
    return {};
  }
  return "The requested image's platform (" + image.ToString() +
         ") does not match the detected host platform (" + host.ToString() +
         ") and no specific platform was requested";
}

Result<std::vector<std::string>> CheckHostConfig(const HostConfig& host) {
  std::vector<std::string> warnings;
  const std::string& network = host.network_mode;
  if (network == "default") {
    warnings.emplace_back(
        "Bridge networks are not available yet: the container has no network. "
        "Use --network host for the host's, --network none to say so.");
  } else if (network != "none" && network != "host") {
    return Fail(ENOTSUP, "create",
                "network " + network + " is not supported: only none and host are");
  }
  if (!host.port_bindings.empty() && network != "host") {
    warnings.emplace_back("Published ports are discarded: the container has no network.");
  }
  if (host.restart.kind != RestartPolicy::Kind::kNo && host.auto_remove) {
    return Fail(EINVAL, "create", "can't create 'AutoRemove' container with restart policy");
  }
  if (host.restart.maximum_retries < 0) {
    return Fail(EINVAL, "create", "invalid restart policy: maximum retry count cannot be negative");
  }
  if (host.restart.maximum_retries > 0 && host.restart.kind != RestartPolicy::Kind::kOnFailure) {
    return Fail(EINVAL, "create",
                "invalid restart policy: maximum retry count can only be used with 'on-failure'");
  }
  if (host.init) {
    return Fail(ENOTSUP, "create", "an init process (--init) is not supported");
  }
  if (!host.pid_mode.empty() && host.pid_mode != "host") {
    return Fail(ENOTSUP, "create", "pid mode " + host.pid_mode + " is not supported: use host");
  }
  if (!host.uts_mode.empty() && host.uts_mode != "host") {
    return Fail(EINVAL, "create", "invalid UTS mode: " + host.uts_mode);
  }
  static const std::set<std::string> kIpcModes{"", "private", "shareable", "host", "none"};
  if (!kIpcModes.contains(host.ipc_mode)) {
    return Fail(ENOTSUP, "create", "ipc mode " + host.ipc_mode + " is not supported");
  }
  static const std::set<std::string> kLogDrivers{"json-file", "k8s-file", "local", "none"};
  if (!kLogDrivers.contains(host.log_driver)) {
    return Fail(EINVAL, "create",
                "logger: no log driver named '" + host.log_driver + "' is registered");
  }
  STRATA_TRY(ParseSecurityOptions(host.security_opt));
  STRATA_TRY(CheckNameSettings(host));
  return warnings;
}

Result<std::vector<MountPoint>> ResolveMounts(const ContainerConfig& config,
                                              const HostConfig& host) {
  std::vector<MountPoint> mounts;
  std::set<std::string> destinations;
  const auto add = [&](MountPoint mount) -> Result<> {
    if (!destinations.insert(mount.destination).second) {
      return Fail(EINVAL, "mount", "Duplicate mount point: " + mount.destination);
    }
    mounts.push_back(std::move(mount));
    return {};
  };
  for (const auto& bind : host.binds) {
    STRATA_TRY_ASSIGN(MountPoint mount, ParseBind(bind));
    STRATA_TRY(add(std::move(mount)));
  }
  for (const auto& request : host.mounts) {
    STRATA_TRY_ASSIGN(MountPoint mount, ParseMountRequest(request));
    STRATA_TRY(add(std::move(mount)));
  }
  for (const auto& [path, options] : host.tmpfs) {
    MountPoint mount;
    mount.type = "tmpfs";
    STRATA_TRY_ASSIGN(mount.destination, CleanDestination(path));
    mount.tmpfs_options = options;
    STRATA_TRY(add(std::move(mount)));
  }
  // Of the image and `-v /path`: only where nothing else is mounted.
  for (const auto& path : config.volumes) {
    MountPoint mount;
    mount.type = "volume";
    mount.anonymous = true;
    STRATA_TRY_ASSIGN(mount.destination, CleanDestination(path));
    if (destinations.contains(mount.destination)) continue;
    STRATA_TRY(add(std::move(mount)));
  }
  return mounts;
}

}  // namespace strata::manager
