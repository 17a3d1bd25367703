// What the daemon does with containers when it starts: the database says what was, the monitors and
// mounts say what is.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <charconv>

#include "base/file_ops.h"
#include "base/logging.h"
#include "base/try.h"
#include "manager/container/container.h"
#include "manager/container/container_service.h"
#include "manager/runtime/freezer.h"
#include "manager/runtime/monitor.h"
#include "manager/runtime/oci_runtime.h"
#include "manager/volume/volume_store.h"

namespace strata::manager {
namespace {

std::int64_t ModificationTimeNs(const std::string& path) {
  const auto st = FileOps::System().StatAt(AT_FDCWD, path.c_str());
  if (!st) return NowNs();
  return std::int64_t{st->st_mtim.tv_sec} * 1'000'000'000 + st->st_mtim.tv_nsec;
}

std::vector<std::string> Names(const std::string& directory) {
  std::vector<std::string> names;
  FileOps& ops = FileOps::System();
  auto dir = ops.Open(AT_FDCWD, directory.c_str(), O_RDONLY | O_DIRECTORY);
  if (!dir) return names;
  Ignore(ops.ReadDir(dir->get(),
                     [&](std::string_view name, ino_t, unsigned char) {
                       names.emplace_back(name);
                       return true;
                     }),
         "what cannot be listed cannot be swept");
  return names;
}

// A commit that did not come to its end held it.
void Thaw(const ContainerRecord& record) {
  const auto freezer = Freezer::Of(record.state.pid, record.id);
  if (!freezer) return;
  if (auto thawed = freezer->Thaw(); !thawed) {
    log::Error("a container may be frozen",
               {{"id", record.id}, {"error", thawed.error().ToString()}});
  }
}

}  // namespace

Result<> ContainerService::Reconcile() {
  STRATA_TRY_ASSIGN(std::vector<ContainerRecord> records, table_->LoadAll());
  std::vector<ContainerPtr> containers;
  {
    const MutexLock lock(mu_);
    for (auto& record : records) {
      const auto container = std::make_shared<Container>(std::move(record));
      const ContainerRecord snapshot = container->Snapshot();
      by_id_.emplace(snapshot.id, container);
      by_name_.emplace(snapshot.name, snapshot.id);
      containers.push_back(container);
    }
  }
  for (const auto& container : containers) ReconcileContainer(container);
  RemoveOrphans();
  return {};
}

void ContainerService::ReconcileContainer(const ContainerPtr& container) {
  const MutexLock operation(container->operation);
  const ContainerRecord record = container->Snapshot();
  const bool was_active =
      record.state.status == Status::kRunning || record.state.status == Status::kPaused;
  auto monitor = Monitor::OpenMonitorPid(paths_.Bundle(record.id));
  if (was_active && monitor) {
    container->needs_cleanup = true;
    {
      const MutexLock lock(container->mu);
      // The monitor lives and reaps its child only at its own end: the number is still the child's.
      container->init_pidfd =
          UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, record.state.pid, 0)));
    }
    auto watched = watcher_->Watch(std::move(*monitor), [this, container] {
      workers_->Post([this, container] { OnExit(container); });
    });
    if (!watched) {
      log::Error("a running container is not watched",
                 {{"id", record.id}, {"error", watched.error().ToString()}});
    }
    if (record.state.status == Status::kRunning) Thaw(record);
    if (RootFsMounter::State(paths_.Merged(record.id)) != MountState::kLive) {
      log::Error("the root filesystem of a running container is gone", {{"id", record.id}});
    }
    log::Info("container is still running", {{"id", record.id}, {"name", record.name}});
    return;
  }
  // Nothing of a container that does not run may remain: what a crash left goes.
  container->needs_cleanup = true;
  if (was_active) {
    const std::string exit_file = paths_.ExitFile(record.id);
    const auto code = Monitor::ReadExitCode(exit_file);
    RecordExit(*container, code.value_or(255), ModificationTimeNs(exit_file),
               code ? "" : "the container ended while no daemon was running");
  }
  if (was_active || monitor ||
      RootFsMounter::State(paths_.Merged(record.id)) != MountState::kAbsent) {
    CleanupLocked(*container);
  } else {
    container->needs_cleanup = false;
  }
  if (was_active) Save(*container);
  const bool unfinished =
      record.state.status == Status::kRemoving || record.state.status == Status::kDead;
  // Who made it to be removed at its end and never started it is gone, too.
  const bool abandoned = was_active || record.state.status == Status::kCreated;
  if (unfinished || (abandoned && record.host.auto_remove)) {
    if (auto removed = RemoveLocked(container, record.host.auto_remove); !removed) {
      log::Error("container was not removed",
                 {{"id", record.id}, {"error", removed.error().ToString()}});
    }
    return;
  }
  RestartAtOpenLocked(container, was_active);
}

// Directories without a row: an interrupted creation or removal.
void ContainerService::RemoveOrphans() {
  for (const auto& id : Names(paths_.ContainersRoot())) {
    if (Get(id)) continue;
    log::Info("removing what is left of a container", {{"id", id}});
    auto swept = deps_.runtime.Delete(id);
    if (swept) swept = RootFsMounter::Unmount(paths_.Merged(id));
    if (swept) swept = RemoveTree(paths_.Home(id));
    if (swept) swept = RemoveTree(paths_.Bundle(id));
    if (!swept) {
      log::Warn("leftovers of a container remain",
                {{"id", id}, {"error", swept.error().ToString()}});
    }
  }
}

}  // namespace strata::manager
