// Creating, finding and removing containers. Running them: run.cc; execs: exec.cc; start-up:
// reconcile.cc.
#include "manager/container/container_service.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/file_ops.h"
#include "base/logging.h"
#include "base/try.h"
#include "layerstore/store/store.h"
#include "manager/container/container.h"
#include "manager/container/create_request.h"
#include "manager/container/etc_files.h"
#include "manager/container/exec.h"
#include "manager/container/host_names.h"
#include "manager/container/names.h"
#include "manager/image/image_service.h"
#include "manager/volume/volume_store.h"

namespace strata::manager {
namespace {

constexpr unsigned kWorkers = 4;
constexpr int kNameAttempts = 100;

Result<> MakeDirectory(const std::string& path, mode_t mode) {
  auto made = FileOps::System().MakeDir(AT_FDCWD, path.c_str(), mode);
  if (!made && made.error().code() != EEXIST) {
    return std::unexpected(std::move(made).error().WithContext(path));
  }
  return {};
}

std::string HostName() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "localhost";
}

}  // namespace

ContainerService::ContainerService(const ContainerServiceOptions& options,
                                   const Dependencies& dependencies)
    : paths_(options.data_root, options.run_root),
      mounter_(options.stratafs),
      deps_(dependencies),
      timers_(std::make_unique<TimerQueue>()),
      workers_(std::make_unique<WorkerPool>(kWorkers)) {}

ContainerService::~ContainerService() {
  watcher_.reset();
  timers_->Stop();  // workers may still post to it
  workers_.reset();
}

Result<std::unique_ptr<ContainerService>> ContainerService::Open(
    const ContainerServiceOptions& options, const Dependencies& dependencies) {
  std::unique_ptr<ContainerService> service(new ContainerService(options, dependencies));
  const ContainerPaths& paths = service->paths_;
  for (const auto& directory : {paths.ContainersRoot(), paths.BundlesRoot(), paths.ExitsRoot()}) {
    STRATA_TRY(MakeDirectory(directory, 0710));
  }
  STRATA_TRY_ASSIGN(service->table_, ContainerTable::Open(dependencies.store.database(),
                                                          dependencies.store.images()));
  STRATA_TRY_ASSIGN(service->watcher_, ExitWatcher::Create());
  STRATA_TRY(service->Reconcile());
  return service;
}

Result<ContainerService::ContainerPtr> ContainerService::Get(std::string_view ref) {
  if (ref.starts_with('/')) ref.remove_prefix(1);
  const MutexLock lock(mu_);
  if (const auto it = by_id_.find(ref); it != by_id_.end()) return it->second;
  if (const auto name = by_name_.find(ref); name != by_name_.end()) {
    if (const auto it = by_id_.find(name->second); it != by_id_.end()) return it->second;
  }
  if (!ref.empty() && IsHex(ref)) {
    const auto first = by_id_.lower_bound(ref);
    if (first != by_id_.end() && first->first.starts_with(ref)) {
      const auto next = std::next(first);
      if (next == by_id_.end() || !next->first.starts_with(ref)) return first->second;
      return Fail(EINVAL, "find container",
                  "Multiple IDs found with provided prefix: " + std::string(ref));
    }
  }
  return Fail(ENOENT, "find container", "No such container: " + std::string(ref));
}

Result<ContainerRecord> ContainerService::Find(std::string_view ref) {
  STRATA_TRY_ASSIGN(const ContainerPtr container, Get(ref));
  return container->Snapshot();
}

std::vector<ContainerRecord> ContainerService::List() {
  std::vector<ContainerPtr> containers;
  {
    const MutexLock lock(mu_);
    for (const auto& [id, container] : by_id_) containers.push_back(container);
  }
  std::vector<ContainerRecord> records;
  records.reserve(containers.size());
  for (const auto& container : containers) records.push_back(container->Snapshot());
  std::ranges::sort(records, [](const ContainerRecord& a, const ContainerRecord& b) {
    return a.created_ns > b.created_ns;
  });
  return records;
}

Result<> ContainerService::Reserve(const std::string& name, const std::string& id) {
  const MutexLock lock(mu_);
  const auto [it, fresh] = by_name_.try_emplace(name, id);
  if (fresh) return {};
  return Fail(EEXIST, "create",
              "Conflict. The container name \"/" + name + "\" is already in use by container \"" +
                  it->second +
                  "\". You have to remove (or rename) that container to be able to reuse that "
                  "name.");
}

Result<std::string> ContainerService::ReserveName(std::string name, const std::string& id) {
  if (name.starts_with('/')) name.erase(0, 1);
  if (!name.empty()) {
    if (!ValidName(name)) {
      return Fail(
          EINVAL, "create",
          "Invalid container name (" + name + "), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
    }
    STRATA_TRY(Reserve(name, id));
    return name;
  }
  for (int attempt = 0; attempt < kNameAttempts; ++attempt) {
    std::string candidate = RandomName(attempt);
    if (Reserve(candidate, id)) return candidate;
  }
  std::string fallback = id.substr(0, 12);
  STRATA_TRY(Reserve(fallback, id));
  return fallback;
}

void ContainerService::Forget(const std::string& name, const std::string& id) {
  const MutexLock lock(mu_);
  by_id_.erase(id);
  if (const auto it = by_name_.find(name); it != by_name_.end() && it->second == id) {
    by_name_.erase(it);
  }
}

// Gives every volume mount its volume.
Result<> ContainerService::MakeVolumes(ContainerRecord& record) {
  for (auto& mount : record.mounts) {
    if (mount.type != "volume") continue;
    Volume wanted;
    wanted.name = mount.anonymous ? NewId() : mount.name;
    wanted.anonymous = mount.anonymous;
    bool created = false;
    STRATA_TRY_ASSIGN(const Volume volume, deps_.volumes.Create(wanted, &created));
    if (created) {
      deps_.events.Publish({"volume", "create", volume.name, {{"driver", "local"}}});
    }
    mount.name = volume.name;
    mount.source = volume.mountpoint;
  }
  return {};
}

Result<> ContainerService::MakeHome(const ContainerRecord& record) {
  STRATA_TRY(MakeDirectory(paths_.Home(record.id), 0710));
  STRATA_TRY(MakeDirectory(paths_.Upper(record.id), 0755));
  STRATA_TRY(MakeDirectory(paths_.Work(record.id), 0700));
  return MakeDirectory(paths_.Merged(record.id), 0755);
}

Result<CreateOutcome> ContainerService::Create(std::string name, ContainerConfig config,
                                               HostConfig host) {
  CreateOutcome outcome;
  STRATA_TRY_ASSIGN(outcome.warnings, CheckHostConfig(host));
  STRATA_TRY(CheckHostNames(config));
  STRATA_TRY_ASSIGN(const ContainerDefaults defaults, deps_.images.Defaults(config.image));
  outcome.platform_warning = PlatformWarning(defaults.platform);
  STRATA_TRY_ASSIGN(const layerstore::Image image,
                    deps_.store.images().Resolve(defaults.image.ToString()));

  ContainerRecord record;
  record.id = NewId();
  record.created_ns = NowNs();
  record.image_id = defaults.image;
  record.image_name = config.image;
  for (const auto& layer : image.diff_ids) record.layers.push_back(layer.ToString());
  record.config = std::move(config);
  record.host = std::move(host);
  if (record.config.hostname.empty()) {
    record.config.hostname =
        record.host.network_mode == "host" ? HostName() : record.id.substr(0, 12);
  }
  STRATA_TRY(MergeImageDefaults(defaults, record));
  STRATA_TRY_ASSIGN(record.mounts, ResolveMounts(record.config, record.host));
  STRATA_TRY_ASSIGN(record.name, ReserveName(std::move(name), record.id));

  auto made = MakeVolumes(record);
  if (made) made = MakeHome(record);
  if (made) made = table_->Insert(record);
  if (!made) {
    Forget(record.name, record.id);
    Ignore(RemoveTree(paths_.Home(record.id)), "the container was not made");
    return std::unexpected(std::move(made).error());
  }
  const auto container = std::make_shared<Container>(record);
  {
    const MutexLock lock(mu_);
    by_id_.emplace(record.id, container);
  }
  Publish(record, "create");
  outcome.id = record.id;
  return outcome;
}

Result<> ContainerService::Remove(std::string_view ref, bool force, bool volumes) {
  STRATA_TRY_ASSIGN(const ContainerPtr container, Get(ref));
  const MutexLock operation(container->operation);
  if (container->removed) return Fail(ENOENT, "remove", "No such container: " + std::string(ref));
  const ContainerRecord record = container->Snapshot();
  const bool running =
      record.state.status == Status::kRunning || record.state.status == Status::kPaused;
  if (running && !force) {
    const char* how = record.state.status == Status::kPaused
                          ? "container is paused and must be unpaused first"
                          : "container is running: stop the container before removing or force "
                            "remove";
    return Fail(EBUSY, "remove", "cannot remove container \"/" + record.name + "\": " + how);
  }
  if (running) STRATA_TRY(StopLocked(container, "SIGKILL", 0));
  return RemoveLocked(container, volumes);
}

Result<> ContainerService::RemoveLocked(const ContainerPtr& container, bool volumes) {
  CleanupLocked(*container);
  STRATA_TRY(DeleteRowLocked(*container));
  RemoveFiles(container->id);
  ForgetLocked(container, volumes);
  return {};
}

Result<> ContainerService::RemoveEndedLocked(const ContainerPtr& container) {
  // Processes that outlive the first one may use the root: they go before anybody is told.
  if (container->Snapshot().host.pid_mode == "host") return RemoveLocked(container, true);
  auto deleted = DeleteRowLocked(*container);
  if (deleted) ForgetLocked(container, true);
  CleanupLocked(*container);
  STRATA_TRY(std::move(deleted));
  RemoveFiles(container->id);
  return {};
}

// The row goes before the files: directories without one are swept at the next start.
Result<> ContainerService::DeleteRowLocked(Container& container) {
  {
    const MutexLock lock(container.mu);
    container.record.state.status = Status::kRemoving;
  }
  DropExecs(container.id);
  auto deleted = table_->Delete(container.id);
  if (!deleted) {
    const MutexLock lock(container.mu);
    container.record.state.status = Status::kDead;
    container.record.state.error = deleted.error().ToString();
  }
  return deleted;
}

void ContainerService::RemoveFiles(const std::string& id) {
  for (const auto& directory : {paths_.Home(id), paths_.Bundle(id)}) {
    if (auto removed = RemoveTree(directory); !removed) {
      log::Error("files of a removed container remain until the next start",
                 {{"id", id}, {"error", removed.error().ToString()}});
    }
  }
}

// Its name is free from here on, and everyone who waits for its removal is told.
void ContainerService::ForgetLocked(const ContainerPtr& container, bool volumes) {
  container->OperationIsHeld();
  const ContainerRecord record = container->Snapshot();
  container->removed = true;
  Forget(record.name, record.id);
  if (volumes) {
    for (const auto& mount : record.mounts) {
      if (mount.type == "volume" && mount.anonymous) {
        Ignore(deps_.volumes.Remove(mount.name), "anonymous volume of a removed container");
      }
    }
  }
  Publish(record, "destroy");

  std::vector<std::pair<WaitCondition, std::weak_ptr<ExitWait>>> waits;
  {
    const MutexLock lock(container->mu);
    waits.swap(container->waits);
  }
  for (const auto& [condition, weak] : waits) {
    if (const auto wait = weak.lock()) wait->Set({record.state.exit_code, {}});
  }
  const Error gone(ENOENT, "attach", "the container was removed");
  ConnectAttaches(*container, &gone);
}

Result<> ContainerService::Rename(std::string_view ref, const std::string& name) {
  STRATA_TRY_ASSIGN(const ContainerPtr container, Get(ref));
  const MutexLock operation(container->operation);
  const ContainerRecord old = container->Snapshot();
  const std::string bare = name.starts_with('/') ? name.substr(1) : name;
  if (bare.empty()) {
    return Fail(EINVAL, "rename", "Neither old nor new names may be empty");
  }
  if (bare == old.name) {
    return Fail(EINVAL, "rename", "Renaming a container with the same name as its current name");
  }
  STRATA_TRY(ReserveName(bare, old.id));
  ContainerRecord renamed = old;
  renamed.name = bare;
  if (auto saved = table_->Update(renamed); !saved) {
    const MutexLock lock(mu_);
    by_name_.erase(bare);
    return saved;
  }
  {
    const MutexLock lock(mu_);
    by_name_.erase(old.name);
  }
  {
    const MutexLock lock(container->mu);
    container->record.name = bare;
  }
  Publish(renamed, "rename", {{"oldName", "/" + old.name}});
  return {};
}

Result<PruneOutcome> ContainerService::Prune(
    const std::function<bool(const ContainerRecord&)>& wanted) {
  PruneOutcome outcome;
  for (const auto& record : List()) {
    const Status status = record.state.status;
    if (status == Status::kRunning || status == Status::kPaused || !wanted(record)) continue;
    const std::uint64_t size = LayerSize(record.id);
    auto removed = Remove(record.id, false, false);
    if (removed) {
      outcome.ids.push_back(record.id);
      outcome.reclaimed += size;
    } else if (removed.error().code() != EBUSY && removed.error().code() != ENOENT) {
      log::Warn("container cannot be pruned",
                {{"id", record.id}, {"error", removed.error().ToString()}});
    }
  }
  return outcome;
}

void ContainerService::Save(Container& container) {
  const ContainerRecord record = container.Snapshot();
  if (auto saved = table_->Update(record); !saved) {
    // The state in memory is the true one; reconciliation repairs the row at the next start.
    log::Error("container state was not saved",
               {{"id", record.id}, {"error", saved.error().ToString()}});
  }
}

void ContainerService::Publish(const ContainerRecord& record, const char* action,
                               std::map<std::string, std::string> extra) {
  Event event{"container", action, record.id, std::move(extra), 0};
  event.attributes.insert(record.config.labels.begin(), record.config.labels.end());
  event.attributes["image"] = record.image_name;
  event.attributes["name"] = record.name;
  deps_.events.Publish(std::move(event));
}

std::uint64_t ContainerService::LayerSize(const std::string& id) const {
  std::uint64_t total = 0;
  std::vector<std::string> pending{paths_.Upper(id)};
  FileOps& ops = FileOps::System();
  while (!pending.empty()) {
    const std::string path = std::move(pending.back());
    pending.pop_back();
    auto dir = ops.Open(AT_FDCWD, path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!dir) continue;  // removed meanwhile
    Ignore(ops.ReadDir(dir->get(),
                       [&](std::string_view name, ino_t, unsigned char) {
                         const std::string inner = JoinPath(path, name);
                         const auto st = ops.StatAt(AT_FDCWD, inner.c_str());
                         if (st && S_ISDIR(st->st_mode)) pending.push_back(inner);
                         if (st && S_ISREG(st->st_mode)) {
                           total += static_cast<std::uint64_t>(st->st_size);
                         }
                         return true;
                       }),
           "sizes are estimates while a container runs");
  }
  return total;
}

}  // namespace strata::manager
