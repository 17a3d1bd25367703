#include "manager/cli/autostart.h"

#include <fcntl.h>
#include <pwd.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "base/file_ops.h"
#include "base/path.h"
#include "base/try.h"
#include "manager/cli/http.h"

namespace strata::manager::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kStartLimit{20'000};
constexpr milliseconds kPollInterval{20};
constexpr off_t kLogShown = 1000;

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

Result<std::string> HomeDirectory() {
  if (const std::string home = Environment("HOME"); home.starts_with('/')) return home;
  passwd entry{};
  passwd* found = nullptr;
  std::string buffer(4096, '\0');
  if (::getpwuid_r(::getuid(), &entry, buffer.data(), buffer.size(), &found) == 0 &&
      found != nullptr) {
    return std::string(found->pw_dir);
  }
  return Fail(EINVAL, "home directory", "HOME is not set and this user has no entry in passwd");
}

DaemonLaunch Launch(const std::string& run_dir, const std::string& data_root) {
  DaemonLaunch launch;
  launch.endpoint.path = JoinPath(run_dir, "strata.sock");
  launch.arguments = {"--host", launch.endpoint.ToString()};
  if (!data_root.empty()) {
    launch.arguments.insert(launch.arguments.end(), {"--data-root", data_root});
  }
  launch.log_path = JoinPath(run_dir, "stratad.log");
  launch.data_root = data_root.empty() ? "/var/lib/strata" : data_root;
  return launch;
}

Result<> MakeDirectories(const std::string& path) {
  std::error_code error;
  if (std::filesystem::exists(path, error)) return {};
  STRATA_TRY(MakeDirectories(std::string(DirName(path))));
  auto made = FileOps::System().MakeDir(AT_FDCWD, path.c_str(), 0700);
  if (!made && made.error().code() != EEXIST) {
    return std::unexpected(std::move(made).error().WithContext(path));
  }
  return {};
}

bool Answers(const Endpoint& endpoint) {
  auto socket = Connect(endpoint);
  if (!socket) return false;
  HttpExchange exchange(*std::move(socket));
  HttpRequest ping;
  ping.target = "/_ping";
  return exchange.Send(ping, "strata") && exchange.ReadHead() && exchange.head().status == 200;
}

// Owns the two structures posix_spawn takes.
class SpawnPlan {
 public:
  SpawnPlan() {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawnattr_init(&attributes_);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;
  ~SpawnPlan() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }

  Result<pid_t> Run(const std::string& program, const std::vector<std::string>& arguments,
                    const std::string& log_path) {
    std::vector<char*> argv{const_cast<char*>(program.c_str())};
    for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    sigset_t none;
    ::sigemptyset(&none);
    int status = ::posix_spawn_file_actions_addopen(&actions_, 0, "/dev/null", O_RDONLY, 0);
    const int log_flags = O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW;
    if (status == 0) {
      status = ::posix_spawn_file_actions_addopen(&actions_, 1, log_path.c_str(), log_flags, 0600);
    }
    if (status == 0) status = ::posix_spawn_file_actions_adddup2(&actions_, 1, 2);
    if (status == 0) status = ::posix_spawn_file_actions_addchdir_np(&actions_, "/");
    // A daemon that kept the caller's descriptors would hold its locks and pipes for ever.
    if (status == 0) status = ::posix_spawn_file_actions_addclosefrom_np(&actions_, 3);
    if (status == 0) status = ::posix_spawnattr_setsigmask(&attributes_, &none);
    if (status == 0) {
      status =
          ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
    }
    pid_t pid = -1;
    if (status == 0) {
      status = ::posix_spawnp(&pid, program.c_str(), &actions_, &attributes_, argv.data(), environ);
    }
    if (status != 0) return Fail(status, "start the daemon", program);
    return pid;
  }

 private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
};

std::string EndOfLog(const std::string& path) {
  FileOps& ops = FileOps::System();
  const auto file = ops.Open(AT_FDCWD, path.c_str(), O_RDONLY);
  if (!file) return "";
  const auto size = ops.Seek(file->get(), 0, SEEK_END);
  if (!size) return "";
  const off_t from = *size > kLogShown ? *size - kLogShown : 0;
  std::string text(static_cast<std::size_t>(*size - from), '\0');
  const auto got = ops.ReadAt(file->get(), std::as_writable_bytes(std::span(text)), from);
  text.resize(got.value_or(0));
  while (text.ends_with('\n')) text.pop_back();
  return text;
}

Result<> WaitUntilItAnswers(const DaemonLaunch& launch, pid_t pid) {
  const auto limit = steady_clock::now() + kStartLimit;
  while (!Answers(launch.endpoint)) {
    int status = 0;
    if (::waitpid(pid, &status, WNOHANG) == pid) {
      return Fail(ECHILD, "start the daemon",
                  "stratad ended at once; the end of " + launch.log_path + ":\n" +
                      EndOfLog(launch.log_path) + "\n");
    }
    if (steady_clock::now() > limit) {
      return Fail(ETIMEDOUT, "start the daemon",
                  "stratad does not answer at " + launch.endpoint.ToString() + "; its log is " +
                      launch.log_path);
    }
    std::this_thread::sleep_for(kPollInterval);
  }
  return {};
}

}  // namespace

std::string ProgramBeside(const std::string& name) {
  const auto self = FileOps::System().ReadLink(AT_FDCWD, "/proc/self/exe");
  if (self) {
    std::string beside = JoinPath(DirName(*self), name);
    if (::access(beside.c_str(), X_OK) == 0) return beside;
  }
  return name;
}

Result<DaemonLaunch> DefaultDaemon() {
  if (const std::string root = Environment("STRATA_ROOT"); !root.empty()) {
    std::error_code error;
    const std::string absolute = std::filesystem::absolute(root, error).lexically_normal();
    if (error) return Fail(error.value(), "STRATA_ROOT", root);
    return Launch(JoinPath(absolute, "run"), absolute);
  }
  if (::geteuid() == 0) return Launch("/run/strata", "");
  STRATA_TRY_ASSIGN(const std::string home, HomeDirectory());
  std::string data = Environment("XDG_DATA_HOME");
  if (!data.starts_with('/')) data = home + "/.local/share";
  const std::string run = Environment("XDG_RUNTIME_DIR");
  data += "/strata";
  return Launch(run.starts_with('/') ? run + "/strata" : data + "/run", data);
}

Result<> StartDaemon(const DaemonLaunch& launch) {
  STRATA_TRY(MakeDirectories(std::string(DirName(launch.endpoint.path))));
  const std::string lock_path = launch.endpoint.path + ".start-lock";
  const auto lock =
      FileOps::System().Open(AT_FDCWD, lock_path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
  if (!lock) return Fail(lock.error().code(), "openat", lock_path);
  while (::flock(lock->get(), LOCK_EX) != 0) {
    if (errno != EINTR) return FailErrno("flock", lock_path);
  }
  if (Answers(launch.endpoint)) return {};  // another client was first

  SpawnPlan plan;
  STRATA_TRY_ASSIGN(const pid_t pid,
                    plan.Run(ProgramBeside("stratad"), launch.arguments, launch.log_path));
  return WaitUntilItAnswers(launch, pid);
}

}  // namespace strata::manager::cli
