// The OCI bundle: what a container is to run, as plain values, and its config.json.
// https://github.com/opencontainers/runtime-spec/blob/main/config.md
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace strata::manager {

struct ResourceLimit {
  std::string name;  // "nofile"
  std::uint64_t soft = 0;
  std::uint64_t hard = 0;
};

// One process: the container's first one, or one that exec adds.
struct ProcessSpec {
  std::vector<std::string> args;  // never empty
  std::vector<std::string> env;   // "NAME=value"
  std::string cwd = "/";
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> additional_gids;
  bool terminal = false;
  std::uint16_t rows = 0;  // 0: the runtime's default size
  std::uint16_t columns = 0;
  std::vector<std::string> capabilities;  // "CAP_CHOWN"; inheritable and ambient stay empty
  bool no_new_privileges = false;
  std::vector<ResourceLimit> limits;
  std::optional<int> oom_score_adj;
};

// A mount below the root; `options` as mount(8) writes them.
struct MountSpec {
  std::string destination;
  std::string type;  // "bind", "tmpfs", "proc", ...
  std::string source;
  std::vector<std::string> options;
};

// cgroup limits; absent = unlimited.
struct ResourceSpec {
  std::optional<std::int64_t> memory;
  std::optional<std::int64_t> memory_swap;
  std::optional<std::int64_t> memory_reservation;
  std::optional<std::uint64_t> cpu_shares;
  std::optional<std::int64_t> cpu_quota;
  std::optional<std::uint64_t> cpu_period;
  std::string cpuset_cpus;
  std::string cpuset_mems;
  std::optional<std::int64_t> pids_limit;
};

// A device node made in the container and allowed by the device cgroup.
struct DeviceSpec {
  std::string path;  // in the container
  char type = 'c';   // 'c' or 'b'
  std::int64_t major = 0;
  std::int64_t minor = 0;
  mode_t mode = 0666;
  uid_t uid = 0;
  gid_t gid = 0;
  std::string access = "rwm";
};

enum class NetworkMode : std::uint8_t { kNone, kHost };
enum class SeccompMode : std::uint8_t { kDefault, kUnconfined };

struct BundleSpec {
  std::string rootfs;  // absolute path of the mounted root
  bool readonly_rootfs = false;
  ProcessSpec process;
  std::string hostname;
  std::string domainname;
  std::vector<MountSpec> mounts;  // after the standard ones, shallow destinations first
  std::string cgroups_path;       // "/strata/<id>"
  NetworkMode network = NetworkMode::kNone;
  bool host_pid = false;
  bool host_ipc = false;
  bool host_uts = false;
  bool privileged = false;
  SeccompMode seccomp = SeccompMode::kDefault;
  std::int64_t shm_size = std::int64_t{64} << 20U;
  std::vector<std::string> masked_paths;
  std::vector<std::string> readonly_paths;
  std::map<std::string, std::string> sysctls;
  std::map<std::string, std::string> annotations;
  std::vector<DeviceSpec> devices;
  ResourceSpec resources;
};

// Paths of /proc and /sys that docker hides from a container, and makes read-only
// (https://docs.docker.com/reference/api/engine/, HostConfig.MaskedPaths and ReadonlyPaths).
std::vector<std::string> DefaultMaskedPaths();
std::vector<std::string> DefaultReadonlyPaths();

// The text of config.json. Bytes that are not UTF-8 are replaced: JSON cannot carry them.
std::string BundleJson(const BundleSpec& spec);
// A process object alone, as `runc exec --process` reads it.
std::string ProcessJson(const ProcessSpec& process);

}  // namespace strata::manager
