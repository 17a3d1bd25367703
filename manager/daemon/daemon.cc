#include "manager/daemon/daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/file_ops.h"
#include "base/path.h"
#include "base/try.h"
#include "layerstore/scrub/scrubber.h"
#include "layerstore/store/store.h"
#include "manager/api/api.h"
#include "manager/api/image_mounts.h"
#include "manager/api/router.h"
#include "manager/api/server.h"
#include "manager/container/container_service.h"
#include "manager/image/image_service.h"
#include "manager/runtime/command.h"
#include "manager/runtime/monitor.h"
#include "manager/runtime/oci_runtime.h"
#include "manager/volume/volume_store.h"

namespace strata::manager {
namespace {

// Returns the way to it without symbolic links, which runtimes refuse in a container's root.
Result<std::string> MakeDirectories(const std::string& path, mode_t mode) {
  std::error_code error;
  std::filesystem::create_directories(DirName(path), error);
  if (error) return Fail(error.value(), "mkdir", std::string(DirName(path)));
  if (::mkdir(path.c_str(), mode) == -1 && errno != EEXIST) return FailErrno("mkdir", path);
  const auto resolved = std::filesystem::canonical(path, error);
  if (error) return Fail(error.value(), "resolve", path);
  return resolved.string();
}

// One daemon per data root; the lock goes with the process, however it ends.
Result<UniqueFd> LockRoot(const std::string& data_root) {
  const std::string path = JoinPath(data_root, "stratad.lock");
  auto opened = FileOps::System().Open(AT_FDCWD, path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
  if (!opened) return std::unexpected(std::move(opened).error().WithContext(path));
  UniqueFd fd = *std::move(opened);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == -1) {
    if (errno == EWOULDBLOCK) {
      return Fail(EBUSY, "start", "another stratad is using " + data_root);
    }
    return FailErrno("flock", path);
  }
  return fd;
}

Result<UniqueFd> BlockSignals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGTERM);
  ::sigaddset(&signals, SIGINT);
  if (const int code = ::pthread_sigmask(SIG_BLOCK, &signals, nullptr); code != 0) {
    return Fail(code, "pthread_sigmask");
  }
  UniqueFd fd(::signalfd(-1, &signals, SFD_CLOEXEC));
  if (!fd) return FailErrno("signalfd");
  return fd;
}

// sd_notify(3)'s protocol: one datagram.
void NotifySystemd(const char* text) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr || (*path != '/' && *path != '@')) return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string_view name(path);
  if (name.size() >= sizeof address.sun_path) return;
  name.copy(address.sun_path, name.size());
  if (*path == '@') address.sun_path[0] = '\0';
  const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  if (!fd || ::sendto(fd.get(), text, std::string_view(text).size(), MSG_NOSIGNAL,
                      reinterpret_cast<const sockaddr*>(&address), size) == -1) {
    log::Warn("systemd was not notified", {{"errno", errno}});
  }
}

Result<std::string> FindStratafs(const std::string& wanted) {
  if (!wanted.empty()) {
    if (::access(wanted.c_str(), X_OK) == 0) return wanted;
    return FailErrno("--stratafs", wanted);
  }
  const auto self = FileOps::System().ReadLink(AT_FDCWD, "/proc/self/exe");
  return FindProgram("stratafs", self ? std::string(DirName(*self)) : std::string());
}

Result<> WritePidFile(const std::string& path) {
  if (path.empty()) return {};
  FileOps& ops = FileOps::System();
  auto fd = ops.Open(AT_FDCWD, path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  auto written = fd ? WriteAll(ops, fd->get(), std::to_string(::getpid()) + '\n')
                    : std::unexpected(std::move(fd).error());
  if (!written) return std::unexpected(std::move(written).error().WithContext(path));
  return {};
}

Result<int> AwaitSignal(int fd) {
  signalfd_siginfo info{};
  for (;;) {
    const ssize_t got = ::read(fd, &info, sizeof info);
    if (got == sizeof info) return static_cast<int>(info.ssi_signo);
    if (got == -1 && errno != EINTR) return FailErrno("read signalfd");
  }
}

}  // namespace

const char* DaemonVersion() { return STRATA_VERSION; }

Result<> RunDaemon(const DaemonOptions& given) {
  ::umask(0022);
  ::signal(SIGPIPE, SIG_IGN);
  STRATA_TRY_ASSIGN(const UniqueFd signals, BlockSignals());
  DaemonOptions options = given;
  STRATA_TRY_ASSIGN(options.data_root, MakeDirectories(given.data_root, 0700));
  STRATA_TRY_ASSIGN(options.run_root, MakeDirectories(given.run_root, 0711));
  STRATA_TRY_ASSIGN(const UniqueFd lock, LockRoot(options.data_root));

  STRATA_TRY_ASSIGN(const std::string stratafs, FindStratafs(options.stratafs));
  STRATA_TRY_ASSIGN(const auto runtime,
                    OciRuntime::Probe({options.runtime, JoinPath(options.run_root, "runtime")}));
  STRATA_TRY_ASSIGN(const auto monitor,
                    Monitor::Open({"", runtime->path(), runtime->state_root()}));
  STRATA_TRY_ASSIGN(const auto store,
                    layerstore::Store::Open({.root = options.data_root,
                                             .delete_in_background = true,
                                             .additional = options.additional_stores,
                                             .verity = options.verity}));
  ImageServiceOptions image_options;
  image_options.insecure_registries = options.insecure_registries;
  image_options.layer_limits = options.layer_limits;
  ImageService images(*store, image_options);
  STRATA_TRY_ASSIGN(const auto volumes, VolumeStore::Open(JoinPath(options.data_root, "volumes")));
  EventBus events;
  STRATA_TRY_ASSIGN(const auto containers,
                    ContainerService::Open({options.data_root, options.run_root, stratafs},
                                           {*store, images, *volumes, *runtime, *monitor, events}));
  STRATA_TRY_ASSIGN(const auto mounts, ImageMounts::Open(*store, images, RootFsMounter(stratafs),
                                                         options.data_root, options.run_root));

  STRATA_TRY_ASSIGN(const auto scrubber, layerstore::Scrubber::Open(*store, options.scrub));
  const ApiContext context{*store,   images,  *containers, *volumes,          events,
                           *runtime, *mounts, *scrubber,   options.data_root, monitor->version(),
                           stratafs};
  Router router;
  AddSystemRoutes(router, context);
  AddImageRoutes(router, context);
  AddSaveRoutes(router, context);
  AddLayerRoutes(router, context);
  AddContainerRoutes(router, context);
  AddStreamRoutes(router, context);
  AddExecRoutes(router, context);
  AddVolumeRoutes(router, context);
  AddStrataRoutes(router, context);
  AddStoreRoutes(router, context);
  AddExploreRoutes(router, context);

  std::vector<UniqueFd> listeners;
  for (const auto& host : options.hosts) {
    STRATA_TRY_ASSIGN(listeners.emplace_back(), Listen(host));
    log::Info("listening", {{"host", host}});
    if (host.starts_with("tcp://")) {
      log::Warn("this address has no TLS: every user of this machine is root through it",
                {{"host", host}});
    }
  }
  STRATA_TRY_ASSIGN(auto server, HttpServer::Start(std::move(listeners), [&](Exchange& exchange) {
                      HandleRequest(router, exchange);
                    }));
  STRATA_TRY(WritePidFile(options.pid_file));
  NotifySystemd("READY=1");
  log::Info("ready", {{"version", STRATA_VERSION},
                      {"runtime", runtime->path()},
                      {"stratafs", stratafs},
                      {"data_root", options.data_root}});
  STRATA_TRY_ASSIGN(const int signal, AwaitSignal(signals.get()));
  log::Info("stopping; containers keep running", {{"signal", signal}});
  NotifySystemd("STOPPING=1");
  server.reset();
  for (const auto& host : options.hosts) {
    if (host.starts_with("unix://")) ::unlink(host.substr(7).c_str());
  }
  if (!options.pid_file.empty()) ::unlink(options.pid_file.c_str());
  return {};
}

}  // namespace strata::manager
