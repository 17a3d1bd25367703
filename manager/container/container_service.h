// Containers: made from images, started, watched, stopped, removed. What docker's API does with
// containers, without HTTP.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "base/mutex.h"
#include "layerstore/diff/changes.h"
#include "manager/container/commit_request.h"
#include "manager/container/container_table.h"
#include "manager/container/events.h"
#include "manager/container/exit_watcher.h"
#include "manager/container/paths.h"
#include "manager/container/rootfs.h"
#include "manager/container/timer_queue.h"
#include "manager/container/types.h"
#include "manager/container/waits.h"
#include "manager/container/worker_pool.h"

namespace strata::layerstore {
class LayerSink;
class Store;
}  // namespace strata::layerstore

namespace strata::manager {

class ImageService;
class Monitor;
class OciRuntime;
class VolumeStore;
struct Container;
struct Exec;

struct ContainerServiceOptions {
  std::string data_root;
  std::string run_root;
  std::string stratafs;  // the program
};

struct CreateOutcome {
  std::string id;
  std::vector<std::string> warnings;
  // That the image is for another platform, which is news only to who did not ask for one.
  std::string platform_warning;
};

struct PruneOutcome {
  std::vector<std::string> ids;
  std::uint64_t reclaimed = 0;  // bytes
};

// Thread-safe; calls block for as long as the runtime and the disk take. Containers are named by
// id, by a prefix of the id that is unique, or by name. Error codes: ENOENT no such container,
// EINVAL a bad request, EEXIST a taken name, EBUSY a state that forbids the operation, EALREADY
// nothing to do, ENOTSUP not supported, else the system's own.
//
// At Open() the database is reconciled with what runs: containers that outlived the last daemon are
// watched again, the end of others is recorded, leftovers are removed, and restart policies apply.
// Destruction leaves running containers running.
class ContainerService {
 public:
  struct Dependencies {
    layerstore::Store& store;
    ImageService& images;
    VolumeStore& volumes;
    OciRuntime& runtime;
    Monitor& monitor;
    EventBus& events;
  };

  static Result<std::unique_ptr<ContainerService>> Open(const ContainerServiceOptions& options,
                                                        const Dependencies& dependencies);
  ~ContainerService();

  // `name` may be empty. ENOENT: no such image.
  Result<CreateOutcome> Create(std::string name, ContainerConfig config, HostConfig host);
  // EALREADY if it runs. Start errors carry the runtime's words.
  Result<> Start(std::string_view ref);
  // `timeout` in seconds before SIGKILL, negative: for ever; absent: the container's own or 10.
  Result<> Stop(std::string_view ref, const std::string& signal, std::optional<int> timeout);
  Result<> Restart(std::string_view ref, const std::string& signal, std::optional<int> timeout);
  Result<> Kill(std::string_view ref, const std::string& signal);
  Result<> Pause(std::string_view ref);
  Result<> Unpause(std::string_view ref);
  // `volumes`: anonymous ones go, too. EBUSY if it runs, unless `force`.
  Result<> Remove(std::string_view ref, bool force, bool volumes);
  Result<> Rename(std::string_view ref, const std::string& name);
  Result<> Resize(std::string_view ref, std::uint16_t rows, std::uint16_t columns);
  // Removes all that are created, exited or dead and that `wanted` accepts.
  Result<PruneOutcome> Prune(const std::function<bool(const ContainerRecord&)>& wanted);

  Result<ContainerRecord> Find(std::string_view ref);
  std::vector<ContainerRecord> List();  // newest first
  const ContainerPaths& paths() const { return paths_; }
  // The container's own layer (own_layer.cc). One that does not run is mounted meanwhile, if need
  // be, and cannot be started as long.
  // An image of the container as it is, durable when this returns; its id. A running container is
  // paused while it is read, unless the request says otherwise. EIO names a file that changed while
  // it was read.
  Result<Digest> Commit(std::string_view ref, const CommitRequest& request);
  // What it changed, sorted by path.
  Result<std::vector<layerstore::Change>> Changes(std::string_view ref);
  // All of its files as a tar, without what is in volumes.
  Result<> Export(std::string_view ref, const std::function<Result<>(std::string_view)>& sink);

  // Processes of a running container, in the daemon's pid namespace.
  Result<std::vector<pid_t>> Processes(std::string_view ref);
  // Bytes of the container's own layer.
  std::uint64_t LayerSize(const std::string& id) const;

  Result<std::shared_ptr<ExitWait>> Wait(std::string_view ref, WaitCondition condition);
  // The streams (runtime/monitor.h) of the container, now if it runs, else when it starts.
  Result<std::shared_ptr<AttachWait>> Attach(std::string_view ref);

  Result<std::string> CreateExec(std::string_view ref, ExecConfig config);
  // Returns the connected stream if `attach`; it ends when the process does.
  Result<UniqueFd> StartExec(const std::string& exec_id, bool attach);
  Result<ExecState> FindExec(const std::string& exec_id);
  std::vector<std::string> ExecsOf(const std::string& id);
  Result<> ResizeExec(const std::string& exec_id, std::uint16_t rows, std::uint16_t columns);
  // Blocks until the exec's exit code is known, at most `seconds`.
  void WaitExec(const std::string& exec_id, int seconds);

 private:
  using ContainerPtr = std::shared_ptr<Container>;
  using ExecPtr = std::shared_ptr<Exec>;

  ContainerService(const ContainerServiceOptions& options, const Dependencies& dependencies);

  Result<ContainerPtr> Get(std::string_view ref);
  Result<> Reserve(const std::string& name, const std::string& id);
  Result<std::string> ReserveName(std::string name, const std::string& id);
  void Forget(const std::string& name, const std::string& id);
  Result<> MakeVolumes(ContainerRecord& record);
  Result<> MakeHome(const ContainerRecord& record);

  // The container's `operation` mutex is held in all that end in Locked.
  Result<> StartLocked(const ContainerPtr& container);
  Result<> StopLocked(const ContainerPtr& container, const std::string& signal,
                      std::optional<int> timeout);
  Result<> RemoveLocked(const ContainerPtr& container, bool volumes);
  // RemoveLocked() for one whose process has ended: nobody waits for mount and files to go.
  Result<> RemoveEndedLocked(const ContainerPtr& container);
  Result<> DeleteRowLocked(Container& container);
  void RemoveFiles(const std::string& id);
  void ForgetLocked(const ContainerPtr& container, bool volumes);
  Result<> MountRootLocked(const ContainerPtr& container, const ContainerRecord& record);
  Result<> SeedVolumes(const ContainerRecord& record, int root);
  Result<> WriteBundle(const ContainerRecord& record, int root);
  Result<UniqueFd> OpenRoot(const std::string& id) const;  // of a mounted container
  Result<> RunLocked(const ContainerPtr& container, const ContainerRecord& record);
  void CleanupLocked(Container& container);
  Result<> PauseLocked(const ContainerPtr& container);
  Result<> UnpauseLocked(const ContainerPtr& container);
  class OwnUnion;
  class Stillness;
  Result<layerstore::DiffSummary> WriteOwnLayer(const ContainerPtr& container, bool pause,
                                                layerstore::LayerSink& sink);
  Result<ContainerRecord> CheckThereLocked(const ContainerPtr& container);
  // Gives `use` the container's own layer.
  Result<> WithOwnLayerLocked(const ContainerPtr& container, const ContainerRecord& record,
                              const std::function<Result<>(const layerstore::UpperLayer&,
                                                           const layerstore::MetadataIndex&)>& use);
  // Restart policies (restart.cc): after an exit, and as the service opens.
  void RestartAfterExitLocked(const ContainerPtr& container);
  void RestartAtOpenLocked(const ContainerPtr& container, bool just_ended);
  void PostRestartLocked(const ContainerPtr& container, std::chrono::milliseconds delay);
  void RunAgain(const ContainerPtr& container, std::uint64_t ticket);
  // The user starts it: it begins anew.
  void ForgetRestartsLocked(Container& container);
  void FailStart(const ContainerPtr& container, const Error& error, int exit_code);

  void OnExit(const ContainerPtr& container);
  void RecordExit(Container& container, int code, std::int64_t finished_ns, std::string error);
  void ConnectAttaches(Container& container, const Error* error);
  Result<> SendSignal(Container& container, int signal);
  void Save(Container& container);
  void Publish(const ContainerRecord& record, const char* action,
               std::map<std::string, std::string> extra = {});

  Result<ExecPtr> GetExec(const std::string& exec_id);
  Result<UniqueFd> RunExec(const ExecPtr& exec, const ContainerRecord& record, bool attach);
  void OnExecExit(const ExecPtr& exec, const std::string& exit_file, const std::string& directory);
  void DropExecs(const std::string& container);

  Result<> Reconcile();
  void ReconcileContainer(const ContainerPtr& container);
  void RemoveOrphans();

  const ContainerPaths paths_;
  const RootFsMounter mounter_;
  Dependencies deps_;
  std::unique_ptr<ContainerTable> table_;

  Mutex mu_;  // rank: manager/container/registry, after `operation`, before Container::mu
  std::map<std::string, ContainerPtr, std::less<>> by_id_ STRATA_GUARDED_BY(mu_);
  std::map<std::string, std::string, std::less<>> by_name_ STRATA_GUARDED_BY(mu_);
  std::map<std::string, ExecPtr, std::less<>> execs_ STRATA_GUARDED_BY(mu_);

  // Ended first by the destructor: nothing calls back into a half-destroyed service.
  std::unique_ptr<TimerQueue> timers_;
  std::unique_ptr<WorkerPool> workers_;
  std::unique_ptr<ExitWatcher> watcher_;
};

}  // namespace strata::manager
