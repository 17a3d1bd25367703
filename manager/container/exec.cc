// Further processes in running containers.
#include "manager/container/exec.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <chrono>

#include "base/file_ops.h"
#include "base/logging.h"
#include "base/try.h"
#include "manager/container/bundle_builder.h"
#include "manager/container/container.h"
#include "manager/container/container_service.h"
#include "manager/container/error_text.h"
#include "manager/container/names.h"
#include "manager/runtime/bundle.h"
#include "manager/runtime/monitor.h"
#include "manager/volume/volume_store.h"

namespace strata::manager {
namespace {

// How long a finished exec can still be inspected.
constexpr std::int64_t kKeepNs = 300LL * 1'000'000'000;
constexpr int kExitNotExecutable = 126;
constexpr int kExitNotFound = 127;

Result<> WriteProcess(const std::string& directory, const ProcessSpec& process) {
  FileOps& ops = FileOps::System();
  STRATA_TRY(ops.MakeDir(AT_FDCWD, directory.c_str(), 0700));
  STRATA_TRY_ASSIGN(const UniqueFd fd,
                    ops.Open(AT_FDCWD, JoinPath(directory, "process.json").c_str(),
                             O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  return WriteAll(ops, fd.get(), ProcessJson(process));
}

}  // namespace

Result<ContainerService::ExecPtr> ContainerService::GetExec(const std::string& exec_id) {
  const MutexLock lock(mu_);
  const auto it = execs_.find(exec_id);
  if (it == execs_.end()) return Fail(ENOENT, "exec", "No such exec instance: " + exec_id);
  return it->second;
}

Result<std::string> ContainerService::CreateExec(std::string_view ref, ExecConfig config) {
  STRATA_TRY_ASSIGN(const ContainerPtr container, Get(ref));
  const ContainerRecord record = container->Snapshot();
  if (config.cmd.empty() || config.cmd[0].empty()) {
    return Fail(EINVAL, "exec", "No exec command specified");
  }
  if (record.state.status == Status::kPaused) {
    return Fail(EBUSY, "exec",
                "Container " + std::string(ref) + " is paused, unpause the container before exec");
  }
  if (record.state.status != Status::kRunning) {
    return Fail(EBUSY, "exec", "container " + record.id + " is not running");
  }
  ExecState state;
  state.id = NewId();
  state.container = record.id;
  state.config = std::move(config);
  const auto exec = std::make_shared<Exec>(state);
  const std::int64_t expired = NowNs() - kKeepNs;
  {
    const MutexLock lock(mu_);
    std::erase_if(execs_, [&](const auto& entry) {
      const MutexLock exec_lock(entry.second->mu);
      return entry.second->ended_ns != 0 && entry.second->ended_ns < expired;
    });
    execs_.emplace(state.id, exec);
  }
  Publish(record, "exec_create", {{"execID", state.id}});
  return state.id;
}

Result<UniqueFd> ContainerService::StartExec(const std::string& exec_id, bool attach) {
  STRATA_TRY_ASSIGN(const ExecPtr exec, GetExec(exec_id));
  std::string container_id;
  {
    const MutexLock lock(exec->mu);
    if (exec->state.started) {
      return Fail(EBUSY, "exec", "Error: Exec command " + exec_id + " has already run");
    }
    exec->state.started = true;
    container_id = exec->state.container;
  }
  auto stream = [&]() -> Result<UniqueFd> {
    STRATA_TRY_ASSIGN(const ContainerPtr container, Get(container_id));
    const ContainerRecord record = container->Snapshot();
    if (record.state.status != Status::kRunning) {
      return Fail(EBUSY, "exec", "container " + record.id + " is not running");
    }
    return RunExec(exec, record, attach);
  }();
  if (stream) return stream;
  const MutexLock lock(exec->mu);
  const int code = stream.error().code();
  exec->state.running = false;
  exec->state.exit_code = code == ENOENT ? kExitNotFound : kExitNotExecutable;
  exec->ended_ns = NowNs();
  exec->changed.NotifyAll();
  const bool client = code == ENOENT || code == EACCES;
  return Fail(client ? EINVAL : code, "exec",
              "OCI runtime exec failed: " + ErrorText(stream.error()));
}

Result<UniqueFd> ContainerService::RunExec(const ExecPtr& exec, const ContainerRecord& record,
                                           bool attach) {
  ExecState state;
  {
    const MutexLock lock(exec->mu);
    state = exec->state;
  }
  STRATA_TRY_ASSIGN(const UniqueFd root, OpenRoot(record.id));
  STRATA_TRY_ASSIGN(const ProcessSpec process, BuildExecProcess(record, state.config, root.get()));
  Monitor::ExecRequest request;
  request.container = record.id;
  request.exec_id = exec->id;
  request.directory = JoinPath(paths_.ExecsRoot(record.id), exec->id);
  request.terminal = state.config.tty;
  request.stdin_open = state.config.attach_stdin;
  request.attach = attach;
  if (auto written = WriteProcess(request.directory, process); !written) {
    return std::unexpected(std::move(written).error().WithContext(request.directory));
  }

  auto started = deps_.monitor.Exec(request);
  if (!started) {
    Ignore(RemoveTree(request.directory), "the exec did not start");
    return std::unexpected(std::move(started).error());
  }
  {
    const MutexLock lock(exec->mu);
    exec->state.running = true;
    exec->state.pid = started->pid;
  }
  Publish(record, "exec_start", {{"execID", exec->id}});
  const std::string exit_file = Monitor::ExecExitFile(request);
  const auto ended = [this, exec, exit_file, directory = request.directory] {
    workers_->Post([this, exec, exit_file, directory] { OnExecExit(exec, exit_file, directory); });
  };
  auto pidfd = Monitor::OpenMonitorPid(request.directory);
  if (pidfd) {
    STRATA_TRY(watcher_->Watch(std::move(*pidfd), ended));
  } else {
    ended();  // it was quicker than this function
  }
  return std::move(started->stream);
}

void ContainerService::OnExecExit(const ExecPtr& exec, const std::string& exit_file,
                                  const std::string& directory) {
  const auto code = Monitor::ReadExitCode(exit_file);
  std::string container_id;
  {
    const MutexLock lock(exec->mu);
    exec->state.running = false;
    exec->state.pid = 0;
    exec->state.exit_code = code.value_or(255);
    exec->ended_ns = NowNs();
    container_id = exec->state.container;
    exec->changed.NotifyAll();
  }
  Ignore(RemoveTree(directory), "an exec's directory goes with its container at the latest");
  if (const auto container = Get(container_id)) {
    Publish((*container)->Snapshot(), "exec_die",
            {{"execID", exec->id}, {"exitCode", std::to_string(code.value_or(255))}});
  }
}

Result<ExecState> ContainerService::FindExec(const std::string& exec_id) {
  STRATA_TRY_ASSIGN(const ExecPtr exec, GetExec(exec_id));
  const MutexLock lock(exec->mu);
  return exec->state;
}

std::vector<std::string> ContainerService::ExecsOf(const std::string& id) {
  std::vector<std::string> ids;
  const MutexLock lock(mu_);
  for (const auto& [exec_id, exec] : execs_) {
    const MutexLock exec_lock(exec->mu);
    if (exec->state.container == id && exec->state.running) ids.push_back(exec_id);
  }
  return ids;
}

Result<> ContainerService::ResizeExec(const std::string& exec_id, std::uint16_t rows,
                                      std::uint16_t columns) {
  STRATA_TRY_ASSIGN(const ExecState state, FindExec(exec_id));
  if (!state.running) return Fail(EBUSY, "resize", "exec " + exec_id + " is not running");
  return Monitor::Resize(JoinPath(paths_.ExecsRoot(state.container), exec_id), rows, columns);
}

void ContainerService::WaitExec(const std::string& exec_id, int seconds) {
  const auto found = GetExec(exec_id);
  if (!found) return;
  Exec& exec = **found;
  const MutexLock lock(exec.mu);
  exec.changed.WaitFor(exec.mu, std::chrono::seconds(seconds),
                       [&]() STRATA_REQUIRES(exec.mu) { return exec.state.exit_code.has_value(); });
}

void ContainerService::DropExecs(const std::string& container) {
  const MutexLock lock(mu_);
  std::erase_if(execs_, [&](const auto& entry) {
    const MutexLock exec_lock(entry.second->mu);
    return entry.second->state.container == container;
  });
}

}  // namespace strata::manager
