// What a container is, as plain values: docker's Config and HostConfig
// (https://docs.docker.com/reference/api/engine/version/v1.47/#tag/Container/operation/ContainerCreate)
// as far as Strata knows them, and the container's state. JSON forms: container/json.h.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/digest.h"

namespace strata::manager {

// docker's Config: what runs. Optional lists tell "not given" (take the image's) from "given
// empty".
struct ContainerConfig {
  std::string hostname;
  std::string domainname;
  std::string user;
  bool attach_stdin = false;
  bool attach_stdout = false;
  bool attach_stderr = false;
  bool tty = false;
  bool open_stdin = false;
  bool stdin_once = false;
  std::vector<std::string> env;
  std::optional<std::vector<std::string>> cmd;
  std::optional<std::vector<std::string>> entrypoint;
  std::string image;  // as the client wrote it
  std::vector<std::string> volumes;
  std::vector<std::string> exposed_ports;
  std::string working_dir;
  std::map<std::string, std::string> labels;
  std::string stop_signal;
  std::optional<std::int64_t> stop_timeout;  // seconds
};

struct RestartPolicy {
  enum class Kind : std::uint8_t { kNo, kAlways, kOnFailure, kUnlessStopped };
  Kind kind = Kind::kNo;
  std::int64_t maximum_retries = 0;  // on-failure: 0 is without limit
};

// One --mount. `-v` texts stay in HostConfig::binds.
struct MountRequest {
  std::string type;    // "bind", "volume", "tmpfs"
  std::string source;  // host path or volume name; empty volume: a new anonymous one
  std::string target;
  bool read_only = false;
  bool no_copy = false;            // volume: not filled from the image
  bool create_mountpoint = false;  // bind: make the host directory
  std::string propagation;         // bind
  std::int64_t tmpfs_size = 0;     // bytes, 0: the kernel's default
  std::optional<mode_t> tmpfs_mode;
};

struct DeviceRequest {
  std::string host_path;
  std::string container_path;
  std::string permissions = "rwm";
};

struct Ulimit {
  std::string name;
  std::int64_t soft = 0;
  std::int64_t hard = 0;
};

// When a file is copied into the container's own layer (stratafs -o copyup=).
enum class CopyUp : std::uint8_t { kWrite, kOpen, kRead };

struct HostConfig {
  std::vector<std::string> binds;  // "SRC:DST[:OPTIONS]"
  std::vector<MountRequest> mounts;
  std::map<std::string, std::string> tmpfs;  // path -> options
  std::string network_mode = "default";      // "default", "none", "host"
  RestartPolicy restart;
  bool auto_remove = false;
  bool privileged = false;
  bool readonly_rootfs = false;
  bool publish_all_ports = false;
  std::map<std::string, std::vector<std::string>> port_bindings;  // "80/tcp" -> "ip:port"
  std::vector<std::string> cap_add;
  std::vector<std::string> cap_drop;
  std::vector<std::string> group_add;
  std::vector<std::string> security_opt;
  std::vector<std::string> dns;
  std::vector<std::string> dns_options;
  std::vector<std::string> dns_search;
  std::vector<std::string> extra_hosts;  // "name:address"
  std::vector<DeviceRequest> devices;
  std::vector<Ulimit> ulimits;
  std::map<std::string, std::string> sysctls;
  std::optional<std::vector<std::string>> masked_paths;
  std::optional<std::vector<std::string>> readonly_paths;
  std::string pid_mode;  // "" or "host"
  std::string ipc_mode;  // "", "private", "shareable", "host", "none"
  std::string uts_mode;  // "" or "host"
  std::string log_driver = "json-file";
  std::map<std::string, std::string> log_options;  // "max-size"
  std::int64_t shm_size = 0;                       // bytes; 0: 64 MiB
  std::optional<int> oom_score_adj;
  bool init = false;
  std::uint16_t console_rows = 0;
  std::uint16_t console_columns = 0;
  std::int64_t memory = 0;  // bytes; 0: no limit, here and below
  std::int64_t memory_swap = 0;
  std::int64_t memory_reservation = 0;
  std::int64_t nano_cpus = 0;
  std::int64_t cpu_shares = 0;
  std::int64_t cpu_period = 0;
  std::int64_t cpu_quota = 0;
  std::string cpuset_cpus;
  std::string cpuset_mems;
  std::int64_t pids_limit = 0;
  CopyUp copy_up = CopyUp::kWrite;  // Strata's own: "StrataCopyUp"
};

// A mount as it was worked out at creation.
struct MountPoint {
  std::string type;    // "bind", "volume", "tmpfs"
  std::string name;    // of the volume
  std::string source;  // on the host
  std::string destination;
  bool read_write = true;
  std::string mode;         // the options as written
  std::string propagation;  // bind: "rprivate" by default
  bool no_copy = false;
  bool anonymous = false;          // the volume goes with the container
  bool create_mountpoint = false;  // `-v`: a missing host directory is made
  std::string tmpfs_options;
};

// Legal transitions:
//   created -> running            start
//   running <-> paused            pause, unpause
//   running, paused -> exited     the process ended
//   exited -> running             start, restart
//   created, exited -> removing   remove; removing -> (gone) or dead if that failed half-way
//   dead -> removing              remove again
enum class Status : std::uint8_t { kCreated, kRunning, kPaused, kExited, kRemoving, kDead };
const char* StatusName(Status status);  // docker's words: "created", "running", ...

struct ContainerState {
  Status status = Status::kCreated;
  pid_t pid = 0;
  int exit_code = 0;
  bool oom_killed = false;
  bool manually_stopped = false;  // by stop or kill: restart policies leave it alone
  std::string error;              // why the last start failed
  std::int64_t started_ns = 0;    // Unix time in nanoseconds; 0: never
  std::int64_t finished_ns = 0;
};

// Everything about one container that is kept in the database.
struct ContainerRecord {
  std::string id;  // 64 hex digits
  std::string name;
  std::int64_t created_ns = 0;
  Digest image_id;
  std::string image_name;  // what the client asked for
  ContainerConfig config;  // merged with the image's
  HostConfig host;
  std::vector<std::string> args;    // entrypoint and command as run
  std::vector<std::string> env;     // merged
  std::vector<std::string> layers;  // diffIDs, base first
  std::vector<MountPoint> mounts;
  std::int64_t restart_count = 0;
  ContainerState state;
};

// What `docker exec` asks for.
struct ExecConfig {
  std::vector<std::string> cmd;
  std::vector<std::string> env;
  std::string user;
  std::string working_dir;
  bool tty = false;
  bool attach_stdin = false;
  bool attach_stdout = false;
  bool attach_stderr = false;
  bool privileged = false;
  std::string detach_keys;
  std::uint16_t console_rows = 0;
  std::uint16_t console_columns = 0;
};

struct ExecState {
  std::string id;  // 64 hex digits
  std::string container;
  ExecConfig config;
  bool started = false;
  bool running = false;
  pid_t pid = 0;
  std::optional<int> exit_code;
};

}  // namespace strata::manager
