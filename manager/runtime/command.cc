#include "manager/runtime/command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string_view>

#include "base/path.h"
#include "base/try.h"
#include "base/unique_fd.h"
#include "manager/runtime/pipe.h"

extern char** environ;

namespace strata::manager {
namespace {

using Clock = std::chrono::steady_clock;

// posix_spawn's two argument objects with their destructors.
class SpawnSetup {
 public:
  SpawnSetup() {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawnattr_init(&attributes_);
  }
  ~SpawnSetup() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  SpawnSetup(const SpawnSetup&) = delete;
  SpawnSetup& operator=(const SpawnSetup&) = delete;

  posix_spawn_file_actions_t* actions() { return &actions_; }
  posix_spawnattr_t* attributes() { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
};

std::vector<std::string> BuildEnvironment(
    const std::vector<std::pair<std::string, std::string>>& extra) {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    bool replaced = false;
    for (const auto& [name, value] : extra) {
      if (text.starts_with(name) && text.substr(name.size()).starts_with('=')) replaced = true;
    }
    if (!replaced) environment.emplace_back(text);
  }
  for (const auto& [name, value] : extra) environment.push_back(name + '=' + value);
  return environment;
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const auto& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

Result<pid_t> Spawn(const std::vector<std::string>& argv, const CommandOptions& options,
                    const Pipe& out, const Pipe& err) {
  SpawnSetup setup;
  ::posix_spawn_file_actions_addopen(setup.actions(), 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(setup.actions(), out.write.get(), 1);
  if (options.stderr_file.empty()) {
    ::posix_spawn_file_actions_adddup2(setup.actions(), err.write.get(), 2);
  } else {
    ::posix_spawn_file_actions_addopen(setup.actions(), 2, options.stderr_file.c_str(),
                                       O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
  }
  // Out of the way of the child's numbers first, so that no dup2 overwrites a source.
  constexpr int kAbove = 64;
  std::vector<UniqueFd> moved;
  for (const auto& [ours, theirs] : options.descriptors) {
    moved.emplace_back(::fcntl(ours, F_DUPFD_CLOEXEC, kAbove));
    if (!moved.back()) return FailErrno("fcntl");
    ::posix_spawn_file_actions_adddup2(setup.actions(), moved.back().get(), theirs);
  }
  sigset_t none;
  ::sigemptyset(&none);
  sigset_t defaults;
  ::sigemptyset(&defaults);
  ::sigaddset(&defaults, SIGPIPE);
  ::posix_spawnattr_setsigmask(setup.attributes(), &none);
  ::posix_spawnattr_setsigdefault(setup.attributes(), &defaults);
  int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
  if (options.new_session) flags |= POSIX_SPAWN_SETSID;
  ::posix_spawnattr_setflags(setup.attributes(), static_cast<short>(flags));

  const std::vector<std::string> environment = BuildEnvironment(options.environment);
  pid_t pid = -1;
  const int code = ::posix_spawnp(&pid, argv[0].c_str(), setup.actions(), setup.attributes(),
                                  Pointers(argv).data(), Pointers(environment).data());
  if (code != 0) return Fail(code, "spawn", argv[0]);
  return pid;
}

// Reads what is there; false at end of file.
bool Drain(int fd, std::string& into) {
  std::array<char, 16384> buffer;
  const ssize_t got = ::read(fd, buffer.data(), buffer.size());
  if (got <= 0) return got == -1 && (errno == EINTR || errno == EAGAIN);
  const std::size_t room = kCommandOutputMax - std::min(kCommandOutputMax, into.size());
  into.append(buffer.data(), std::min(room, static_cast<std::size_t>(got)));
  return true;
}

// Collects output until the process ends. false: the time is up first.
bool CollectUntilExit(int pidfd, Pipe& out, Pipe& err, Clock::time_point deadline,
                      CommandResult& result) {
  bool ended = false;
  for (;;) {
    std::array<pollfd, 3> fds{{{ended ? -1 : pidfd, POLLIN, 0},
                               {out.read.get(), POLLIN, 0},
                               {err.read.get(), POLLIN, 0}}};
    int wait = 0;  // once the process ended: only what is in the pipes already
    if (!ended) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
      if (left <= 0) return false;
      wait = static_cast<int>(std::min<long long>(left + 1, 60'000));
    }
    const int ready = ::poll(fds.data(), fds.size(), wait);
    if (ready == -1 && errno != EINTR) return false;
    if (ready <= 0) {
      if (ended) return true;
      continue;
    }
    if (fds[1].revents != 0 && !Drain(fds[1].fd, result.out)) out.read.reset();
    if (fds[2].revents != 0 && !Drain(fds[2].fd, result.err)) err.read.reset();
    if (fds[0].revents != 0) ended = true;
    if (ended && !out.read && !err.read) return true;
  }
}

int ReapExitCode(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) == -1) {
    if (errno != EINTR) return 255;
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

std::string CommandResult::LastErrorLine() const {
  std::string_view text(err);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) {
    text.remove_suffix(1);
  }
  const std::size_t start = text.rfind('\n');
  return std::string(start == std::string_view::npos ? text : text.substr(start + 1));
}

Result<CommandResult> RunCommand(const std::vector<std::string>& argv,
                                 const CommandOptions& options) {
  if (argv.empty()) return Fail(EINVAL, "spawn");
  STRATA_TRY_ASSIGN(Pipe out, MakePipe());
  STRATA_TRY_ASSIGN(Pipe err, MakePipe());
  STRATA_TRY_ASSIGN(const pid_t pid, Spawn(argv, options, out, err));
  out.write.reset();
  err.write.reset();

  CommandResult result;
  const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  const int pidfd_errno = pidfd ? 0 : errno;
  const bool ended =
      pidfd && CollectUntilExit(pidfd.get(), out, err, Clock::now() + options.timeout, result);
  if (!ended) ::kill(pid, SIGKILL);
  result.exit_code = ReapExitCode(pid);
  if (pidfd_errno != 0) return Fail(pidfd_errno, "pidfd_open", argv[0]);
  if (!ended) return Fail(ETIMEDOUT, "wait", argv[0] + " did not end in time and was killed");
  return result;
}

Result<std::string> FindProgram(const std::string& name, const std::string& beside) {
  if (!beside.empty()) {
    std::string path = JoinPath(beside, name);
    if (::access(path.c_str(), X_OK) == 0) return path;
  }
  const char* search = std::getenv("PATH");
  std::string_view rest(search != nullptr ? search : "/usr/sbin:/usr/bin:/sbin:/bin");
  while (!rest.empty()) {
    const std::size_t end = rest.find(':');
    const std::string path = JoinPath(rest.substr(0, end), name);
    if (::access(path.c_str(), X_OK) == 0) return path;
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  return Fail(ENOENT, "find program", name + " is neither beside stratad nor in PATH");
}

}  // namespace strata::manager
