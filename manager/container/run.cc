// The life of a container: start, the end of its process, stop, kill, pause.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <chrono>

#include "base/file_ops.h"
#include "base/logging.h"
#include "base/try.h"
#include "layerstore/store/store.h"
#include "manager/container/bundle_builder.h"
#include "manager/container/container.h"
#include "manager/container/container_service.h"
#include "manager/container/create_request.h"
#include "manager/container/error_text.h"
#include "manager/container/etc_files.h"
#include "manager/container/image_layers.h"
#include "manager/runtime/monitor.h"
#include "manager/runtime/oci_runtime.h"
#include "manager/volume/volume_store.h"

namespace strata::manager {
namespace {

constexpr int kDefaultStopSeconds = 10;
// How long a killed process may take to disappear (disk sleep, a frozen cgroup).
constexpr auto kKillPatience = std::chrono::seconds(30);
constexpr int kExitNotExecutable = 126;
constexpr int kExitNotFound = 127;
constexpr int kExitStartFailed = 128;

bool Active(const ContainerState& state) {
  return state.status == Status::kRunning || state.status == Status::kPaused;
}

Result<> WriteFile(const std::string& path, const std::string& text, mode_t mode) {
  FileOps& ops = FileOps::System();
  auto fd = ops.Open(AT_FDCWD, path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode);
  auto written = fd ? WriteAll(ops, fd->get(), text) : std::unexpected(std::move(fd).error());
  if (!written) return std::unexpected(std::move(written).error().WithContext(path));
  return {};
}

// "10m" -> bytes, docker's log-opt max-size; 0 for anything else.
std::int64_t ParseSize(const std::string& text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return 0;
  const std::string unit(end, text.data() + text.size());
  if (unit.starts_with('k') || unit.starts_with('K')) return value << 10U;
  if (unit.starts_with('m') || unit.starts_with('M')) return value << 20U;
  if (unit.starts_with('g') || unit.starts_with('G')) return value << 30U;
  return unit.empty() ? value : 0;
}

// The words docker puts around a runtime's message; its clients search the whole for phrases.
Error StartError(Error error) {
  const int code = error.code();
  const bool client = code == ENOENT || code == EACCES;
  return Error(client ? EINVAL : code, "start",
               "failed to create task for container: " + ErrorText(error));
}

}  // namespace

Result<> ContainerService::Start(std::string_view ref) {
  STRATA_TRY_ASSIGN(const ContainerPtr container, Get(ref));
  const MutexLock operation(container->operation);
  ForgetRestartsLocked(*container);
  return StartLocked(container);
}

Result<> ContainerService::StartLocked(const ContainerPtr& container) {
  container->OperationIsHeld();
  if (container->removed) return Fail(ENOENT, "start", "No such container: " + container->id);
  ContainerRecord record = container->Snapshot();
  switch (record.state.status) {
    case Status::kRunning:
      return Fail(EALREADY, "start", "the container runs");
    case Status::kPaused:
      return Fail(EBUSY, "start", "cannot start a paused container, try unpause instead");
    case Status::kRemoving:
    case Status::kDead:
      return Fail(EBUSY, "start", "container is marked for removal and cannot be started");
    case Status::kCreated:
    case Status::kExited:
      break;
  }
  container->restart_due = 0;
  CleanupLocked(*container);
  container->needs_cleanup = true;
  auto started = MountRootLocked(container, record);
  if (started) started = RunLocked(container, record);
  if (started) return {};

  int exit_code = kExitStartFailed;
  if (started.error().code() == ENOENT) exit_code = kExitNotFound;
  if (started.error().code() == EACCES) exit_code = kExitNotExecutable;
  CleanupLocked(*container);
  Error error = StartError(std::move(started).error());
  FailStart(container, error, exit_code);
  if (record.host.auto_remove) {
    if (auto removed = RemoveLocked(container, true); !removed) {
      log::Error("container was not removed",
                 {{"id", record.id}, {"error", removed.error().ToString()}});
    }
  }
  return std::unexpected(std::move(error));
}

void ContainerService::FailStart(const ContainerPtr& container, const Error& error, int exit_code) {
  {
    const MutexLock lock(container->mu);
    ContainerState& state = container->record.state;
    state.exit_code = exit_code;
    state.error = ErrorText(error);
    // docker leaves a container that never ran "created"; clients see the code and the reason.
    state.pid = 0;
  }
  Save(*container);
  ConnectAttaches(*container, &error);
}

Result<> ContainerService::MountRootLocked(const ContainerPtr& container,
                                           const ContainerRecord& record) {
  STRATA_TRY_ASSIGN(const std::vector<Digest> diff_ids, LayersOf(record));
  RootFsRequest request;
  STRATA_TRY(AddImageLayers(deps_.store, record.image_name, diff_ids, request));
  STRATA_TRY_ASSIGN(const bool init, PrepareInitLayer(paths_.Init(container->id), request.layers));
  if (init) request.layers.insert(request.layers.begin(), paths_.Init(container->id));
  request.upper = paths_.Upper(container->id);
  request.work = paths_.Work(container->id);
  request.target = paths_.Merged(container->id);
  request.copy_up = record.host.copy_up;
  request.log_file = paths_.MountLog(container->id);
  return mounter_.Mount(request);
}

// The first start fills new named volumes from the image, before anything is mounted over it.
Result<> ContainerService::SeedVolumes(const ContainerRecord& record, int root) {
  if (record.state.started_ns != 0) return {};
  for (const auto& mount : record.mounts) {
    if (mount.type != "volume" || mount.no_copy) continue;
    STRATA_TRY_ASSIGN(const Volume volume, deps_.volumes.Find(mount.name));
    STRATA_TRY(deps_.volumes.Seed(volume, root, mount.destination));
  }
  return {};
}

Result<> ContainerService::WriteBundle(const ContainerRecord& record, int root) {
  for (const auto& mount : record.mounts) {
    if (mount.type != "bind" || ::access(mount.source.c_str(), F_OK) == 0) continue;
    if (!mount.create_mountpoint) {
      return Fail(EINVAL, "mount",
                  "invalid mount config for type \"bind\": bind source path does not exist: " +
                      mount.source);
    }
    // `-v` makes the missing directory, with its parents.
    for (std::size_t end = mount.source.find('/', 1);; end = mount.source.find('/', end + 1)) {
      const std::string part = mount.source.substr(0, end);
      if (::mkdir(part.c_str(), 0755) == -1 && errno != EEXIST) return FailErrno("mkdir", part);
      if (end == std::string::npos) break;
    }
  }
  STRATA_TRY_ASSIGN(std::vector<MountSpec> etc,
                    PrepareEtcFiles(paths_.Home(record.id), record.config, record.host));
  STRATA_TRY_ASSIGN(const BundleSpec spec,
                    BuildBundle(record, paths_.Merged(record.id), root, std::move(etc)));
  const std::string bundle = paths_.Bundle(record.id);
  for (const auto& directory : {bundle, paths_.ExecsRoot(record.id)}) {
    if (::mkdir(directory.c_str(), 0700) == -1 && errno != EEXIST) {
      return FailErrno("mkdir", directory);
    }
  }
  return WriteFile(JoinPath(bundle, "config.json"), BundleJson(spec), 0600);
}

Result<UniqueFd> ContainerService::OpenRoot(const std::string& id) const {
  const std::string path = paths_.Merged(id);
  auto root = FileOps::System().Open(AT_FDCWD, path.c_str(), O_RDONLY | O_DIRECTORY);
  if (!root) return std::unexpected(std::move(root).error().WithContext(path));
  return root;
}

Result<> ContainerService::RunLocked(const ContainerPtr& container, const ContainerRecord& record) {
  STRATA_TRY_ASSIGN(const UniqueFd root, OpenRoot(record.id));
  STRATA_TRY(SeedVolumes(record, root.get()));
  STRATA_TRY(WriteBundle(record, root.get()));

  Monitor::CreateRequest request;
  request.id = record.id;
  request.name = record.name;
  request.bundle = paths_.Bundle(record.id);
  request.log_path = record.host.log_driver == "none" ? "" : paths_.Log(record.id);
  request.exit_file = paths_.ExitFile(record.id);
  request.terminal = record.config.tty;
  request.stdin_open = record.config.open_stdin;
  request.stdin_once = record.config.stdin_once;
  if (const auto it = record.host.log_options.find("max-size");
      it != record.host.log_options.end()) {
    request.log_size_max = ParseSize(it->second);
  }
  STRATA_TRY_ASSIGN(const Monitor::Created created, deps_.monitor.Create(request));
  STRATA_TRY_ASSIGN(UniqueFd monitor_pidfd, Monitor::OpenMonitorPid(request.bundle));
  UniqueFd init_pidfd(static_cast<int>(::syscall(SYS_pidfd_open, created.pid, 0)));
  ConnectAttaches(*container, nullptr);
  STRATA_TRY(deps_.runtime.Start(record.id));

  {
    const MutexLock lock(container->mu);
    ContainerState& state = container->record.state;
    state.status = Status::kRunning;
    state.pid = created.pid;
    state.exit_code = 0;
    state.error.clear();
    state.oom_killed = false;
    state.manually_stopped = false;
    state.started_ns = NowNs();
    state.finished_ns = 0;
    container->init_pidfd = std::move(init_pidfd);
    container->changed.NotifyAll();
  }
  Save(*container);
  Publish(record, "start");
  return watcher_->Watch(std::move(monitor_pidfd), [this, container] {
    workers_->Post([this, container] { OnExit(container); });
  });
}

// Gives everyone who waits for the streams a connection, or the error.
void ContainerService::ConnectAttaches(Container& container, const Error* error) {
  std::vector<std::weak_ptr<AttachWait>> attaches;
  {
    const MutexLock lock(container.mu);
    attaches.swap(container.attaches);
  }
  for (const auto& weak : attaches) {
    const auto attach = weak.lock();
    if (!attach) continue;
    if (error != nullptr) {
      attach->Set(Fail(error->code(), "attach", ErrorText(*error)));
    } else {
      attach->Set(Monitor::Attach(paths_.Bundle(container.id)));
    }
  }
}

// conmon has ended: the container's process has, too, and its exit code is written.
void ContainerService::OnExit(const ContainerPtr& container) {
  auto code = Monitor::ReadExitCode(paths_.ExitFile(container->id));
  RecordExit(*container, code.value_or(255), NowNs(),
             code ? "" : "the monitor ended without an exit code");
  const MutexLock operation(container->operation);
  const ContainerRecord record = container->Snapshot();
  // Somebody may have cleaned up, removed or even started it again since.
  if (container->removed || Active(record.state)) return;
  if (!record.host.auto_remove) {
    CleanupLocked(*container);
    Save(*container);
    RestartAfterExitLocked(container);
    return;
  }
  if (auto removed = RemoveEndedLocked(container); !removed) {
    log::Error("container was not removed",
               {{"id", record.id}, {"error", removed.error().ToString()}});
  }
}

void ContainerService::RecordExit(Container& container, int code, std::int64_t finished_ns,
                                  std::string error) {
  const bool oom = ::access(JoinPath(paths_.Bundle(container.id), "oom").c_str(), F_OK) == 0;
  std::vector<std::weak_ptr<ExitWait>> due;
  ContainerRecord record;
  {
    const MutexLock lock(container.mu);
    ContainerState& state = container.record.state;
    state.status = Status::kExited;
    state.pid = 0;
    state.exit_code = code;
    state.oom_killed = oom;
    state.finished_ns = finished_ns;
    state.error = error;
    container.init_pidfd.reset();
    std::erase_if(container.waits, [&](auto& entry) {
      if (entry.first == WaitCondition::kRemoved) return false;
      due.push_back(std::move(entry.second));
      return true;
    });
    record = container.record;
    container.changed.NotifyAll();
  }
  for (const auto& weak : due) {
    if (const auto wait = weak.lock()) wait->Set({code, error});
  }
  if (oom) Publish(record, "oom");
  Publish(record, "die", {{"exitCode", std::to_string(code)}});
}

// Idempotent: kills what is left, takes the mount away, removes the bundle.
void ContainerService::CleanupLocked(Container& container) {
  container.OperationIsHeld();
  if (!container.needs_cleanup) return;
  if (auto deleted = deps_.runtime.Delete(container.id); !deleted) {
    log::Warn("the runtime did not delete a container",
              {{"id", container.id}, {"error", deleted.error().ToString()}});
  }
  if (auto unmounted = RootFsMounter::Unmount(paths_.Merged(container.id)); !unmounted) {
    log::Error("the root filesystem was not unmounted",
               {{"id", container.id}, {"error", unmounted.error().ToString()}});
    return;
  }
  if (auto removed = RemoveTree(paths_.Bundle(container.id)); !removed) {
    log::Warn("the bundle was not removed",
              {{"id", container.id}, {"error", removed.error().ToString()}});
  }
  if (::unlink(paths_.ExitFile(container.id).c_str()) == -1 && errno != ENOENT) {
    log::Warn("the exit file was not removed", {{"id", container.id}, {"errno", errno}});
  }
  container.needs_cleanup = false;
}

Result<> ContainerService::SendSignal(Container& container, int signal) {
  const MutexLock lock(container.mu);
  if (!Active(container.record.state) || !container.init_pidfd) {
    return Fail(ESRCH, "kill", "container " + container.id + " is not running");
  }
  if (::syscall(SYS_pidfd_send_signal, container.init_pidfd.get(), signal, nullptr, 0) == -1 &&
      errno != ESRCH) {
    return FailErrno("pidfd_send_signal", container.id);
  }
  return {};
}

Result<> ContainerService::Stop(std::string_view ref, const std::string& signal,
                                std::optional<int> timeout) {
  STRATA_TRY_ASSIGN(const ContainerPtr container, Get(ref));
  const MutexLock operation(container->operation);
  if (!Active(container->Snapshot().state)) {
    // What needs cleaning up has just ended: its restart is yet to be decided on.
    if (container->restart_due == 0 && !container->needs_cleanup) {
      return Fail(EALREADY, "stop", "it does not run");
    }
    container->restart_due = 0;
    {
      const MutexLock lock(container->mu);
      container->record.state.manually_stopped = true;
    }
    Save(*container);
    return {};
  }
  STRATA_TRY(StopLocked(container, signal, timeout));
  Publish(container->Snapshot(), "stop");
  return {};
}

Result<> ContainerService::StopLocked(const ContainerPtr& container, const std::string& signal,
                                      std::optional<int> timeout) {
  const ContainerRecord record = container->Snapshot();
  std::string name = signal.empty() ? record.config.stop_signal : signal;
  if (name.empty()) name = "SIGTERM";
  STRATA_TRY_ASSIGN(const int number, ParseSignal(name));
  const int seconds =
      timeout.value_or(static_cast<int>(record.config.stop_timeout.value_or(kDefaultStopSeconds)));
  {
    const MutexLock lock(container->mu);
    container->record.state.manually_stopped = true;
  }
  if (record.state.status == Status::kPaused) {
    STRATA_TRY(deps_.runtime.Resume(record.id));
  }
  const auto ended = [&]() STRATA_REQUIRES(container->mu) {
    return !Active(container->record.state);
  };
  if (auto sent = SendSignal(*container, number); !sent && sent.error().code() != ESRCH) {
    return sent;
  }
  bool done = false;
  {
    const MutexLock lock(container->mu);
    if (seconds < 0) {
      container->changed.Wait(container->mu, ended);
      done = true;
    } else {
      done = container->changed.WaitFor(container->mu, std::chrono::seconds(seconds), ended);
    }
  }
  if (!done) {
    if (auto sent = SendSignal(*container, SIGKILL); !sent && sent.error().code() != ESRCH) {
      return sent;
    }
    const MutexLock lock(container->mu);
    if (!container->changed.WaitFor(container->mu, kKillPatience, ended)) {
      return Fail(ETIMEDOUT, "stop", "tried to kill container, but did not receive an exit event");
    }
  }
  CleanupLocked(*container);
  Save(*container);
  return {};
}

Result<> ContainerService::Restart(std::string_view ref, const std::string& signal,
                                   std::optional<int> timeout) {
  STRATA_TRY_ASSIGN(const ContainerPtr container, Get(ref));
  const MutexLock operation(container->operation);
  if (Active(container->Snapshot().state)) STRATA_TRY(StopLocked(container, signal, timeout));
  ForgetRestartsLocked(*container);
  STRATA_TRY(StartLocked(container));
  Publish(container->Snapshot(), "restart");
  return {};
}

Result<> ContainerService::Kill(std::string_view ref, const std::string& signal) {
  STRATA_TRY_ASSIGN(const ContainerPtr container, Get(ref));
  STRATA_TRY_ASSIGN(const int number, ParseSignal(signal.empty() ? "SIGKILL" : signal));
  const ContainerRecord record = container->Snapshot();
  if (!Active(record.state)) {
    return Fail(EBUSY, "kill",
                "cannot kill container: " + std::string(ref) + ": container " + record.id +
                    " is not running");
  }
  if (number == SIGKILL) {
    const MutexLock lock(container->mu);
    container->record.state.manually_stopped = true;
  }
  auto sent = SendSignal(*container, number);
  if (!sent && sent.error().code() == ESRCH) {
    return Fail(EBUSY, "kill", ErrorText(sent.error()));
  }
  STRATA_TRY(std::move(sent));
  Publish(record, "kill", {{"signal", std::to_string(number)}});
  // A frozen process dies when it is thawed.
  if (number == SIGKILL && record.state.status == Status::kPaused) {
    return deps_.runtime.Resume(record.id);
  }
  return {};
}

Result<> ContainerService::Pause(std::string_view ref) {
  STRATA_TRY_ASSIGN(const ContainerPtr container, Get(ref));
  const MutexLock operation(container->operation);
  return PauseLocked(container);
}

Result<> ContainerService::PauseLocked(const ContainerPtr& container) {
  const ContainerRecord record = container->Snapshot();
  if (record.state.status == Status::kPaused) {
    return Fail(EBUSY, "pause", "container " + record.id + " is already paused");
  }
  if (record.state.status != Status::kRunning) {
    return Fail(EBUSY, "pause", "container " + record.id + " is not running");
  }
  STRATA_TRY(deps_.runtime.Pause(record.id));
  {
    const MutexLock lock(container->mu);
    if (container->record.state.status == Status::kRunning) {
      container->record.state.status = Status::kPaused;
    }
  }
  Save(*container);
  Publish(record, "pause");
  return {};
}

Result<> ContainerService::Unpause(std::string_view ref) {
  STRATA_TRY_ASSIGN(const ContainerPtr container, Get(ref));
  const MutexLock operation(container->operation);
  return UnpauseLocked(container);
}

Result<> ContainerService::UnpauseLocked(const ContainerPtr& container) {
  const ContainerRecord record = container->Snapshot();
  if (record.state.status != Status::kPaused) {
    return Fail(EBUSY, "unpause", "container " + record.id + " is not paused");
  }
  STRATA_TRY(deps_.runtime.Resume(record.id));
  {
    const MutexLock lock(container->mu);
    if (container->record.state.status == Status::kPaused) {
      container->record.state.status = Status::kRunning;
    }
  }
  Save(*container);
  Publish(record, "unpause");
  return {};
}

Result<> ContainerService::Resize(std::string_view ref, std::uint16_t rows, std::uint16_t columns) {
  STRATA_TRY_ASSIGN(const ContainerPtr container, Get(ref));
  const ContainerRecord record = container->Snapshot();
  if (!Active(record.state)) {
    return Fail(EBUSY, "resize", "container " + record.id + " is not running");
  }
  return Monitor::Resize(paths_.Bundle(record.id), rows, columns);
}

Result<std::vector<pid_t>> ContainerService::Processes(std::string_view ref) {
  STRATA_TRY_ASSIGN(const ContainerPtr container, Get(ref));
  const ContainerRecord record = container->Snapshot();
  if (!Active(record.state)) {
    return Fail(EBUSY, "top", "container " + record.id + " is not running");
  }
  return deps_.runtime.Processes(record.id);
}

Result<std::shared_ptr<ExitWait>> ContainerService::Wait(std::string_view ref,
                                                         WaitCondition condition) {
  STRATA_TRY_ASSIGN(const ContainerPtr container, Get(ref));
  STRATA_TRY_ASSIGN(std::shared_ptr<ExitWait> wait, ExitWait::Create());
  const MutexLock lock(container->mu);
  const ContainerState& state = container->record.state;
  if (condition == WaitCondition::kNotRunning && !Active(state)) {
    wait->Set({state.exit_code, state.error});
  } else {
    std::erase_if(container->waits, [](const auto& entry) { return entry.second.expired(); });
    container->waits.emplace_back(condition, wait);
  }
  return wait;
}

Result<std::shared_ptr<AttachWait>> ContainerService::Attach(std::string_view ref) {
  STRATA_TRY_ASSIGN(const ContainerPtr container, Get(ref));
  STRATA_TRY_ASSIGN(std::shared_ptr<AttachWait> attach, AttachWait::Create());
  const MutexLock lock(container->mu);
  if (Active(container->record.state)) {
    attach->Set(Monitor::Attach(paths_.Bundle(container->id)));
  } else {
    std::erase_if(container->attaches, [](const auto& entry) { return entry.expired(); });
    container->attaches.push_back(attach);
  }
  return attach;
}

}  // namespace strata::manager
