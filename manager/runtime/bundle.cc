#include "manager/runtime/bundle.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "manager/runtime/seccomp.h"

namespace strata::manager {
namespace {

using nlohmann::json;

constexpr const char* kOciVersion = "1.0.2";

json MountJson(const MountSpec& mount) {
  return {{"destination", mount.destination},
          {"type", mount.type},
          {"source", mount.source},
          {"options", mount.options}};
}

bool UnifiedCgroups() { return ::access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0; }

// What every container gets below its root
// (https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#default-filesystems).
std::vector<MountSpec> StandardMounts(const BundleSpec& spec) {
  const std::string sys_mode = spec.privileged ? "rw" : "ro";
  std::vector<MountSpec> mounts{
      {"/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}},
      {"/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}},
      {"/dev/pts",
       "devpts",
       "devpts",
       {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
      {"/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", sys_mode}},
      {"/sys/fs/cgroup", "cgroup", "cgroup", {"nosuid", "noexec", "nodev", "relatime", sys_mode}},
  };
  if (spec.host_ipc) {
    mounts.push_back({"/dev/mqueue", "bind", "/dev/mqueue", {"rbind", "nosuid", "noexec"}});
    mounts.push_back({"/dev/shm", "bind", "/dev/shm", {"rbind", "nosuid", "noexec", "nodev"}});
  } else {
    mounts.push_back({"/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}});
    mounts.push_back(
        {"/dev/shm",
         "tmpfs",
         "shm",
         {"nosuid", "noexec", "nodev", "mode=1777", "size=" + std::to_string(spec.shm_size)}});
  }
  return mounts;
}

json MountsJson(const BundleSpec& spec) {
  json mounts = json::array();
  for (const auto& standard : StandardMounts(spec)) {
    bool replaced = false;
    for (const auto& own : spec.mounts)
      replaced = replaced || own.destination == standard.destination;
    if (!replaced) mounts.push_back(MountJson(standard));
  }
  for (const auto& own : spec.mounts) mounts.push_back(MountJson(own));
  return mounts;
}

json ProcessObject(const ProcessSpec& process) {
  json user{{"uid", process.uid}, {"gid", process.gid}};
  if (!process.additional_gids.empty()) user["additionalGids"] = process.additional_gids;
  const json caps = process.capabilities;
  json object{{"terminal", process.terminal},
              {"user", user},
              {"args", process.args},
              {"env", process.env},
              {"cwd", process.cwd},
              // Inheritable and ambient sets stay empty (CVE-2022-24769).
              {"capabilities", {{"bounding", caps}, {"effective", caps}, {"permitted", caps}}},
              {"noNewPrivileges", process.no_new_privileges}};
  if (process.terminal && process.rows > 0 && process.columns > 0) {
    object["consoleSize"] = {{"height", process.rows}, {"width", process.columns}};
  }
  if (process.oom_score_adj) object["oomScoreAdj"] = *process.oom_score_adj;
  for (const auto& limit : process.limits) {
    std::string type = "RLIMIT_";
    for (const char c : limit.name) {
      type.push_back(static_cast<char>(std::toupper(static_cast<unsigned char>(c))));
    }
    object["rlimits"].push_back({{"type", type}, {"soft", limit.soft}, {"hard", limit.hard}});
  }
  return object;
}

json NamespacesJson(const BundleSpec& spec) {
  json namespaces = json::array({{{"type", "mount"}}});
  if (!spec.host_pid) namespaces.push_back({{"type", "pid"}});
  if (!spec.host_ipc) namespaces.push_back({{"type", "ipc"}});
  if (!spec.host_uts) namespaces.push_back({{"type", "uts"}});
  if (spec.network == NetworkMode::kNone) namespaces.push_back({{"type", "network"}});
  if (UnifiedCgroups()) namespaces.push_back({{"type", "cgroup"}});
  return namespaces;
}

// The machine's system call tables; calls through one that is not listed kill the caller.
json SeccompArchitectures() {
  utsname name{};
  const std::string machine = ::uname(&name) == 0 ? name.machine : "x86_64";
  if (machine == "x86_64") return {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"};
  if (machine == "aarch64") return {"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"};
  if (machine == "riscv64") return json::array({"SCMP_ARCH_RISCV64"});
  if (machine == "ppc64le") return json::array({"SCMP_ARCH_PPC64LE"});
  if (machine == "s390x") return {"SCMP_ARCH_S390X", "SCMP_ARCH_S390"};
  return json::array();
}

json SeccompJson(const std::vector<std::string>& capabilities) {
  json calls = json::array();
  for (const auto& rule : DefaultSeccompRules(capabilities)) {
    calls.push_back(
        {{"names", rule.names}, {"action", "SCMP_ACT_ERRNO"}, {"errnoRet", rule.error}});
  }
  if (NamespacesRefused(capabilities)) {
    for (const unsigned long flag : kNamespaceFlags) {
      const json argument{
          {"index", 0}, {"value", flag}, {"valueTwo", flag}, {"op", "SCMP_CMP_MASKED_EQ"}};
      calls.push_back({{"names", json::array({"clone"})},
                       {"action", "SCMP_ACT_ERRNO"},
                       {"errnoRet", EPERM},
                       {"args", json::array({argument})}});
    }
  }
  return {{"defaultAction", "SCMP_ACT_ALLOW"},
          {"architectures", SeccompArchitectures()},
          {"syscalls", calls}};
}

json DeviceRule(bool allow, const std::string& access) {
  return {{"allow", allow}, {"access", access}};
}

// The runtime itself adds null, zero, full, random, urandom, tty, ptmx and console.
json DeviceCgroupJson(const BundleSpec& spec) {
  if (spec.privileged) return json::array({DeviceRule(true, "rwm")});
  json rules = json::array({DeviceRule(false, "rwm")});
  for (const char* type : {"c", "b"}) {
    json mknod = DeviceRule(true, "m");  // nodes may be made, not opened
    mknod["type"] = type;
    rules.push_back(mknod);
  }
  for (const auto& device : spec.devices) {
    json rule = DeviceRule(true, device.access);
    rule["type"] = std::string(1, device.type);
    rule["major"] = device.major;
    rule["minor"] = device.minor;
    rules.push_back(rule);
  }
  return rules;
}

json ResourcesJson(const BundleSpec& spec) {
  const ResourceSpec& from = spec.resources;
  json object{{"devices", DeviceCgroupJson(spec)}};
  json memory = json::object();
  if (from.memory) memory["limit"] = *from.memory;
  if (from.memory_swap) memory["swap"] = *from.memory_swap;
  if (from.memory_reservation) memory["reservation"] = *from.memory_reservation;
  if (!memory.empty()) object["memory"] = memory;
  json cpu = json::object();
  if (from.cpu_shares) cpu["shares"] = *from.cpu_shares;
  if (from.cpu_quota) cpu["quota"] = *from.cpu_quota;
  if (from.cpu_period) cpu["period"] = *from.cpu_period;
  if (!from.cpuset_cpus.empty()) cpu["cpus"] = from.cpuset_cpus;
  if (!from.cpuset_mems.empty()) cpu["mems"] = from.cpuset_mems;
  if (!cpu.empty()) object["cpu"] = cpu;
  if (from.pids_limit) object["pids"] = {{"limit", *from.pids_limit}};
  return object;
}

json LinuxJson(const BundleSpec& spec) {
  json object{{"cgroupsPath", spec.cgroups_path},
              {"namespaces", NamespacesJson(spec)},
              {"resources", ResourcesJson(spec)},
              {"rootfsPropagation", "rprivate"}};
  if (!spec.masked_paths.empty()) object["maskedPaths"] = spec.masked_paths;
  if (!spec.readonly_paths.empty()) object["readonlyPaths"] = spec.readonly_paths;
  if (!spec.sysctls.empty()) object["sysctl"] = spec.sysctls;
  for (const auto& device : spec.devices) {
    object["devices"].push_back({{"path", device.path},
                                 {"type", std::string(1, device.type)},
                                 {"major", device.major},
                                 {"minor", device.minor},
                                 {"fileMode", device.mode},
                                 {"uid", device.uid},
                                 {"gid", device.gid}});
  }
  if (spec.seccomp == SeccompMode::kDefault) {
    object["seccomp"] = SeccompJson(spec.process.capabilities);
  }
  return object;
}

std::string Text(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

std::vector<std::string> DefaultMaskedPaths() {
  return {"/proc/acpi",        "/proc/asound",  "/proc/interrupts",
          "/proc/kcore",       "/proc/keys",    "/proc/latency_stats",
          "/proc/sched_debug", "/proc/scsi",    "/proc/timer_list",
          "/proc/timer_stats", "/sys/firmware", "/sys/devices/virtual/powercap"};
}

std::vector<std::string> DefaultReadonlyPaths() {
  return {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
}

std::string BundleJson(const BundleSpec& spec) {
  json object{{"ociVersion", kOciVersion},
              {"process", ProcessObject(spec.process)},
              {"root", {{"path", spec.rootfs}, {"readonly", spec.readonly_rootfs}}},
              {"mounts", MountsJson(spec)},
              {"linux", LinuxJson(spec)}};
  if (!spec.host_uts && !spec.hostname.empty()) object["hostname"] = spec.hostname;
  if (!spec.annotations.empty()) object["annotations"] = spec.annotations;
  return Text(object);
}

std::string ProcessJson(const ProcessSpec& process) { return Text(ProcessObject(process)); }

}  // namespace strata::manager
