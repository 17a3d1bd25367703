#include "fusefs/daemon/serve.h"

#include <malloc.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include <csignal>
#include <utility>

#include "base/logging.h"
#include "base/mutex.h"
#include "base/privileges.h"
#include "base/try.h"
#include "fusefs/daemon/mount_check.h"
#include "fusefs/daemon/transports.h"
#include "fusefs/frontend/session.h"
#include "fusefs/union/engine.h"

namespace strata::fusefs {
namespace {

constexpr int kEndSignals[] = {SIGTERM, SIGINT, SIGHUP};

// Every open file of the union may hold a descriptor here.
void RaiseDescriptorLimit() {
  rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    Ignore(FailErrno("setrlimit"), "the soft limit stays");
  }
}

// Quotas do not bind who has CAP_SYS_RESOURCE, and it is us who write for every user of the mount.
// Given up by this thread, and so by all that it starts; kernel overlayfs does the same.
Result<> KeepToQuotas() {
  STRATA_TRY_ASSIGN(const ThreadCapabilities capabilities, ThreadCapabilities::Get());
  return capabilities.Has(CAP_SYS_RESOURCE) ? capabilities.Without(CAP_SYS_RESOURCE).Apply()
                                            : Result<>();
}

// A large tree that was walked and forgotten must not leave its memory behind. By default glibc
// keeps the more in each thread's arena the larger what was freed before.
void LetHeapShrink() {
  constexpr int kThreshold = 256 * 1024;
  if (::mallopt(M_MMAP_THRESHOLD, kThreshold) != 1 ||
      ::mallopt(M_TRIM_THRESHOLD, kThreshold) != 1) {
    log::Debug("mallopt failed");
  }
}

// Blocks the signals in this thread, and so in all that it starts; they are read from the result.
Result<UniqueFd> TakeSignals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int signal : kEndSignals) ::sigaddset(&signals, signal);
  if (::sigprocmask(SIG_BLOCK, &signals, nullptr) != 0) return FailErrno("sigprocmask");
  // A peer that is gone is an error of that write, not our end.
  if (std::signal(SIGPIPE, SIG_IGN) == SIG_ERR) return FailErrno("signal");
  UniqueFd fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return FailErrno("signalfd");
  return fd;
}

// How the handshake went, from the thread that did it to the one that waits.
class Handshake {
 public:
  static Result<std::unique_ptr<Handshake>> Create() {
    UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!fd) return FailErrno("eventfd");
    return std::unique_ptr<Handshake>(new Handshake(std::move(fd)));
  }

  int done() const { return done_.get(); }  // readable from then on

  void Finish(const Error* failure) {
    {
      MutexLock lock(mutex_);
      if (failure != nullptr) failure_ = failure->code();
    }
    if (::eventfd_write(done_.get(), 1) != 0) {
      Ignore(FailErrno("eventfd"), "the counter is far from full");
    }
  }

  Result<> Take() {
    eventfd_t count = 0;
    if (::eventfd_read(done_.get(), &count) != 0) return FailErrno("eventfd");
    MutexLock lock(mutex_);
    if (failure_ != 0) return Fail(failure_, "FUSE handshake");
    return {};
  }

 private:
  explicit Handshake(UniqueFd done) : done_(std::move(done)) {}

  const UniqueFd done_;
  Mutex mutex_;  // docs/locking.md: leaf
  int failure_ STRATA_GUARDED_BY(mutex_) = 0;
};

// What one mount consists of. Members are destroyed last to first.
struct Running {
  Mount mount;
  UniqueFd signals;
  std::unique_ptr<Handshake> handshake;
  std::unique_ptr<Transport> transport;
  std::unique_ptr<Session> session;
};

// All that can be found wrong before there is a mount.
struct Prepared {
  std::unique_ptr<Engine> engine;
  bool uring = false;
};

Result<Prepared> Prepare(Options& options) {
  STRATA_TRY_ASSIGN(options.mount.mountpoint,
                    CheckMountpoint(options.mount.mountpoint, options.engine));
  options.mount.allow_other = options.allow_other.value_or(::geteuid() == 0);
  if (options.engine.upper.empty()) options.mount.read_only = true;

  STRATA_TRY_ASSIGN(const bool uring, DecideOnUring(options.transport.choice));
  STRATA_TRY_ASSIGN(auto engine,
                    Engine::Open(options.engine, EngineEnv{.files = FileOps::System()}));
  // Layers may have been named relative to here; from now on nothing is, and no directory is held.
  if (::chdir("/") != 0) return FailErrno("chdir", "/");
  return Prepared{std::move(engine), uring};
}

Result<> Connect(Running& running, Engine& engine, const Options& options, bool uring) {
  STRATA_TRY_ASSIGN(running.transport,
                    MakeTransport(uring, running.mount.TakeDevice(), options.transport));
  SessionOptions session_options{
      .passthrough = !options.writeback && options.engine.opens,
      .writeback = options.writeback,
      .locks = options.locks.value_or(options.engine.opens),
      .opens = options.engine.opens,
      .acl = options.engine.acl,
      .on_ready = [handshake = running.handshake.get()](const Error* failure) {
        handshake->Finish(failure);
      }};
  STRATA_TRY_ASSIGN(running.session,
                    Session::Create(engine, *running.transport, std::move(session_options)));
  return running.transport->Start(*running.session);
}

Result<std::unique_ptr<Running>> Start(const Options& options, Engine& engine, bool uring) {
  STRATA_TRY_ASSIGN(auto signals, TakeSignals());
  STRATA_TRY_ASSIGN(auto handshake, Handshake::Create());
  STRATA_TRY_ASSIGN(auto mount, Mount::Create(options.mount));
  auto running = std::make_unique<Running>(
      Running{std::move(mount), std::move(signals), std::move(handshake), {}, {}});
  auto connected = Connect(*running, engine, options, uring);
  if (connected) return running;
  if (running->transport) running->transport->Stop();
  if (auto removed = running->mount.Remove(); !removed) {
    log::Warn("a dead mount is left", {{"error", removed.error().ToString()}});
  }
  return std::unexpected(std::move(connected).error());
}

// Until the connection ends (true) or a signal asks for the end (false).
Result<bool> Wait(Running& running, StartReport& report, bool keep_stderr) {
  pollfd waits[] = {{running.transport->ended(), POLLIN, 0},
                    {running.signals.get(), POLLIN, 0},
                    {running.handshake->done(), POLLIN, 0}};
  for (;;) {
    if (::poll(waits, std::size(waits), -1) < 0) {
      if (errno == EINTR) continue;
      return FailErrno("poll");
    }
    if (waits[2].revents != 0) {
      STRATA_TRY(running.handshake->Take());
      log::Info("mounted", {{"mountpoint", running.mount.mountpoint()}});
      STRATA_TRY(report.Ready(keep_stderr));
    }
    if (waits[0].revents != 0) return true;
    if (waits[1].revents != 0) return false;
  }
}

// Whether nobody can write any more: that the connection ended does not say so, it can be aborted
// with files open.
Result<bool> Unmount(Running& running, bool connection_ended) {
  if (connection_ended) return !running.mount.Attached();
  STRATA_TRY_ASSIGN(const Mount::Unmounted how, running.mount.Remove());
  if (how == Mount::Unmounted::kGone) return true;
  log::Warn("the mount was still in use: its open files fail from now on",
            {{"mountpoint", running.mount.mountpoint()}});
  return false;
}

Result<> TakeDown(Running& running, std::unique_ptr<Engine> engine, bool connection_ended) {
  auto clean = Unmount(running, connection_ended);
  running.transport->Stop();
  Result<> result;
  if (!clean) {
    result = std::unexpected(std::move(clean).error());
  } else if (*clean) {
    result = engine->Close();
  }
  // The engine gives back its backing files through the session: it goes first.
  engine.reset();
  return result;
}

}  // namespace

Result<std::string> Finalize(const Options& options) {
  ::umask(0);
  RaiseDescriptorLimit();
  STRATA_TRY(KeepToQuotas());
  STRATA_TRY_ASSIGN(const auto engine,
                    Engine::Open(options.engine, EngineEnv{.files = FileOps::System()}));
  auto done = engine->Finalize();
  auto closed = engine->Close();
  if (!done) return std::unexpected(std::move(done).error());
  if (!closed) return std::unexpected(std::move(closed).error());
  return options.engine.upper + ": files completed: " + std::to_string(done->completed) +
         ", names linked: " + std::to_string(done->linked) +
         ", index entries removed: " + std::to_string(done->index_entries) +
         ", kept: " + std::to_string(done->kept);
}

Result<> Serve(Options options, StartReport& report) {
  ::umask(0);
  LetHeapShrink();
  RaiseDescriptorLimit();
  STRATA_TRY(KeepToQuotas());
  STRATA_TRY_ASSIGN(Prepared prepared, Prepare(options));
  auto started = Start(options, *prepared.engine, prepared.uring);
  if (!started) {
    Ignore(prepared.engine->Close(), "nothing was written");
    return std::unexpected(std::move(started).error());
  }
  Running& running = **started;
  auto ended = Wait(running, report, !options.log_file.empty());
  auto down = TakeDown(running, std::move(prepared.engine), ended.has_value() && *ended);
  if (!ended) return std::unexpected(std::move(ended).error());
  log::Info("unmounted", {{"mountpoint", running.mount.mountpoint()}});
  return down;
}

}  // namespace strata::fusefs
