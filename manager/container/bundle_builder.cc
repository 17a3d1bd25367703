#include "manager/container/bundle_builder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include "base/file_ops.h"
#include "base/path.h"
#include "base/try.h"
#include "layerstore/oci/image_config.h"
#include "manager/container/security_options.h"
#include "manager/runtime/capabilities.h"
#include "manager/runtime/user.h"

namespace strata::manager {
namespace {

constexpr std::int64_t kDefaultCpuPeriod = 100'000;  // microseconds

bool EnvHas(const std::vector<std::string>& env, std::string_view name) {
  return std::ranges::any_of(env, [&](const std::string& entry) {
    return entry.starts_with(name) && entry.substr(name.size()).starts_with('=');
  });
}

Result<std::vector<std::string>> Capabilities(const HostConfig& host) {
  const std::vector<std::string> base = host.privileged ? AllCapabilities() : DefaultCapabilities();
  return AdjustCapabilities(base, host.cap_add, host.cap_drop);
}

Result<> ApplyUser(int root, const std::string& user, const std::vector<std::string>& groups,
                   ProcessSpec& process) {
  STRATA_TRY_ASSIGN(const ContainerUser found, ResolveUser(root, user, groups));
  process.uid = found.uid;
  process.gid = found.gid;
  process.additional_gids = found.additional_gids;
  if (!EnvHas(process.env, "HOME")) process.env.push_back("HOME=" + found.home);
  return {};
}

Result<ProcessSpec> BuildProcess(const ContainerRecord& record, int root) {
  const HostConfig& host = record.host;
  ProcessSpec process;
  process.args = record.args;
  process.env = record.env;
  process.cwd = record.config.working_dir;
  process.terminal = record.config.tty;
  process.rows = host.console_rows;
  process.columns = host.console_columns;
  STRATA_TRY_ASSIGN(const SecurityOptions security, ParseSecurityOptions(host.security_opt));
  process.no_new_privileges = security.no_new_privileges;
  process.oom_score_adj = host.oom_score_adj;
  for (const auto& limit : host.ulimits) {
    const auto value = [](std::int64_t number) {
      return number < 0 ? std::numeric_limits<std::uint64_t>::max()
                        : static_cast<std::uint64_t>(number);
    };
    process.limits.push_back({limit.name, value(limit.soft), value(limit.hard)});
  }
  STRATA_TRY_ASSIGN(process.capabilities, Capabilities(host));
  STRATA_TRY(ApplyUser(root, record.config.user, host.group_add, process));
  return process;
}

std::vector<std::string> SplitOptions(const std::string& text) {
  std::vector<std::string> options;
  std::size_t start = 0;
  while (start < text.size()) {
    std::size_t end = text.find(',', start);
    if (end == std::string::npos) end = text.size();
    if (end > start) options.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return options;
}

MountSpec ToSpec(const MountPoint& mount) {
  MountSpec spec;
  spec.destination = mount.destination;
  if (mount.type == "tmpfs") {
    spec.type = "tmpfs";
    spec.source = "tmpfs";
    spec.options = {"noexec", "nosuid", "nodev"};
    for (auto& option : SplitOptions(mount.tmpfs_options))
      spec.options.push_back(std::move(option));
    if (!mount.read_write) spec.options.emplace_back("ro");
    return spec;
  }
  spec.type = "bind";
  spec.source = mount.source;
  spec.options = {"rbind", mount.propagation.empty() ? "rprivate" : mount.propagation,
                  mount.read_write ? "rw" : "ro"};
  return spec;
}

std::ptrdiff_t Depth(const MountSpec& mount) { return std::ranges::count(mount.destination, '/'); }

std::vector<MountSpec> BuildMounts(const ContainerRecord& record,
                                   std::vector<MountSpec> etc_mounts) {
  std::vector<MountSpec> mounts;
  for (auto& etc : etc_mounts) {
    const bool replaced = std::ranges::any_of(record.mounts, [&](const MountPoint& mount) {
      return mount.destination == etc.destination;
    });
    if (!replaced) mounts.push_back(std::move(etc));
  }
  for (const auto& mount : record.mounts) mounts.push_back(ToSpec(mount));
  // A mount on /a must not hide the one on /a/b.
  std::ranges::stable_sort(mounts, {}, Depth);
  return mounts;
}

Result<DeviceSpec> DeviceFromHost(const std::string& path) {
  struct stat st{};
  if (::stat(path.c_str(), &st) == -1) {
    return FailErrno(
        "device", "error gathering device information while adding custom device \"" + path + "\"");
  }
  if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode)) {
    return Fail(EINVAL, "device", path + " is not a device node");
  }
  DeviceSpec device;
  device.path = path;
  device.type = S_ISCHR(st.st_mode) ? 'c' : 'b';
  device.major = major(st.st_rdev);
  device.minor = minor(st.st_rdev);
  device.mode = st.st_mode & 0777U;
  device.uid = st.st_uid;
  device.gid = st.st_gid;
  return device;
}

// What a privileged container sees: every node of the host's /dev but terminals and what the
// runtime makes itself.
Result<> AddHostDevices(const std::string& directory, std::vector<DeviceSpec>& devices) {
  FileOps& ops = FileOps::System();
  STRATA_TRY_ASSIGN(const UniqueFd dir,
                    ops.Open(AT_FDCWD, directory.c_str(), O_RDONLY | O_DIRECTORY));
  std::vector<std::pair<std::string, unsigned char>> entries;
  STRATA_TRY(ops.ReadDir(dir.get(), [&](std::string_view name, ino_t, unsigned char type) {
    entries.emplace_back(JoinPath(directory, name), type);
    return true;
  }));
  for (const auto& [path, type] : entries) {
    if (path == "/dev/pts" || path == "/dev/shm" || path == "/dev/mqueue" ||
        path == "/dev/console" || path == "/dev/ptmx" || path == "/dev/tty") {
      continue;
    }
    if (type == DT_DIR) {
      STRATA_TRY(AddHostDevices(path, devices));
    } else if (type == DT_CHR || type == DT_BLK) {
      auto device = DeviceFromHost(path);
      if (device) devices.push_back(std::move(*device));  // gone meanwhile otherwise
    }
  }
  return {};
}

Result<std::vector<DeviceSpec>> BuildDevices(const HostConfig& host) {
  std::vector<DeviceSpec> devices;
  if (host.privileged) STRATA_TRY(AddHostDevices("/dev", devices));
  for (const auto& request : host.devices) {
    STRATA_TRY_ASSIGN(DeviceSpec device, DeviceFromHost(request.host_path));
    if (!request.container_path.empty()) device.path = request.container_path;
    if (!request.permissions.empty()) device.access = request.permissions;
    devices.push_back(std::move(device));
  }
  return devices;
}

bool SwapLimitAvailable() {
  return ::access("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", F_OK) == 0 ||
         ::access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0;
}

ResourceSpec BuildResources(const HostConfig& host) {
  ResourceSpec resources;
  if (host.memory > 0) resources.memory = host.memory;
  if (host.memory_reservation > 0) resources.memory_reservation = host.memory_reservation;
  if (host.memory > 0 && SwapLimitAvailable()) {
    // docker's default: as much swap as memory.
    resources.memory_swap = host.memory_swap != 0 ? host.memory_swap : 2 * host.memory;
  }
  if (host.cpu_shares > 0) resources.cpu_shares = static_cast<std::uint64_t>(host.cpu_shares);
  if (host.cpu_period > 0) resources.cpu_period = static_cast<std::uint64_t>(host.cpu_period);
  if (host.cpu_quota != 0) resources.cpu_quota = host.cpu_quota;
  if (host.nano_cpus > 0) {
    resources.cpu_period = static_cast<std::uint64_t>(kDefaultCpuPeriod);
    resources.cpu_quota = host.nano_cpus / (1'000'000'000 / kDefaultCpuPeriod);
  }
  resources.cpuset_cpus = host.cpuset_cpus;
  resources.cpuset_mems = host.cpuset_mems;
  if (host.pids_limit > 0) resources.pids_limit = host.pids_limit;
  return resources;
}

}  // namespace

Result<BundleSpec> BuildBundle(const ContainerRecord& record, const std::string& rootfs, int root,
                               std::vector<MountSpec> etc_mounts) {
  const HostConfig& host = record.host;
  BundleSpec spec;
  spec.rootfs = rootfs;
  spec.readonly_rootfs = host.readonly_rootfs;
  STRATA_TRY_ASSIGN(spec.process, BuildProcess(record, root));
  spec.hostname = record.config.hostname;
  spec.domainname = record.config.domainname;
  spec.mounts = BuildMounts(record, std::move(etc_mounts));
  spec.cgroups_path = "/strata/" + record.id;
  spec.network = host.network_mode == "host" ? NetworkMode::kHost : NetworkMode::kNone;
  spec.host_pid = host.pid_mode == "host";
  spec.host_ipc = host.ipc_mode == "host";
  spec.host_uts = host.uts_mode == "host";
  spec.privileged = host.privileged;
  STRATA_TRY_ASSIGN(const SecurityOptions security, ParseSecurityOptions(host.security_opt));
  const bool unconfined = host.privileged || security.seccomp_unconfined;
  spec.seccomp = unconfined ? SeccompMode::kUnconfined : SeccompMode::kDefault;
  if (host.shm_size > 0) spec.shm_size = host.shm_size;
  if (!host.privileged) {
    spec.masked_paths = host.masked_paths.value_or(DefaultMaskedPaths());
    spec.readonly_paths = host.readonly_paths.value_or(DefaultReadonlyPaths());
  }
  spec.sysctls = host.sysctls;
  STRATA_TRY_ASSIGN(spec.devices, BuildDevices(host));
  spec.resources = BuildResources(host);
  return spec;
}

Result<ProcessSpec> BuildExecProcess(const ContainerRecord& record, const ExecConfig& exec,
                                     int root) {
  ProcessSpec process;
  process.args = exec.cmd;
  process.env = record.env;
  if (exec.tty && !EnvHas(process.env, "TERM")) process.env.emplace_back("TERM=xterm");
  for (const auto& entry : exec.env) {
    std::erase_if(process.env, [&](const std::string& other) {
      return layerstore::EnvName(other) == layerstore::EnvName(entry);
    });
    process.env.push_back(entry);
  }
  process.cwd = exec.working_dir.empty() ? record.config.working_dir : exec.working_dir;
  if (!process.cwd.starts_with('/') || process.cwd.starts_with("/proc/")) {
    return Fail(EINVAL, "exec", "the working directory '" + process.cwd + "' is not allowed");
  }
  process.terminal = exec.tty;
  process.rows = exec.console_rows;
  process.columns = exec.console_columns;
  STRATA_TRY_ASSIGN(const SecurityOptions security, ParseSecurityOptions(record.host.security_opt));
  process.no_new_privileges = security.no_new_privileges;
  if (exec.privileged) {
    process.capabilities = AllCapabilities();
  } else {
    STRATA_TRY_ASSIGN(process.capabilities, Capabilities(record.host));
  }
  const std::string& user = exec.user.empty() ? record.config.user : exec.user;
  STRATA_TRY(ApplyUser(root, user, record.host.group_add, process));
  return process;
}

}  // namespace strata::manager
