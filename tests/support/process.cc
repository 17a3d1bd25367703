#include "tests/support/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "base/try.h"
#include "base/unique_fd.h"

namespace strata::support {
namespace {

using Clock = std::chrono::steady_clock;

int ExitCode(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Result<pid_t> Spawn(const std::vector<std::string>& argv, int out, int err) {
  std::vector<char*> args;
  for (const std::string& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
  args.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, out, 1);
  ::posix_spawn_file_actions_adddup2(&actions, err, 2);
  pid_t pid = -1;
  const int code = ::posix_spawnp(&pid, args[0], &actions, nullptr, args.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (code != 0) return Fail(code, "posix_spawnp", argv[0]);
  return pid;
}

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

Result<Pipe> MakePipe() {
  std::array<int, 2> fds{};
  if (::pipe2(fds.data(), O_CLOEXEC) != 0) return FailErrno("pipe2");
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

int RemainingMilliseconds(Clock::time_point deadline) {
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return left > 0 ? static_cast<int>(left) : 0;
}

// Reads both pipes until their ends are closed; false at the deadline.
bool Drain(Pipe& out, Pipe& err, ProcessResult& result, Clock::time_point deadline) {
  std::array<pollfd, 2> polled = {pollfd{out.read.get(), POLLIN, 0},
                                  pollfd{err.read.get(), POLLIN, 0}};
  std::array<std::string*, 2> sinks = {&result.out, &result.err};
  while (polled[0].fd >= 0 || polled[1].fd >= 0) {
    const int ready = ::poll(polled.data(), polled.size(), RemainingMilliseconds(deadline));
    if (ready == 0) return false;
    for (std::size_t i = 0; i < polled.size(); ++i) {
      if (polled[i].fd < 0 || polled[i].revents == 0) continue;
      std::array<char, 4096> buffer;
      const ssize_t n = ::read(polled[i].fd, buffer.data(), buffer.size());
      if (n > 0) {
        sinks[i]->append(buffer.data(), static_cast<std::size_t>(n));
      } else {
        polled[i].fd = -1;
      }
    }
  }
  return true;
}

}  // namespace

Result<ProcessResult> RunProcess(const std::vector<std::string>& argv,
                                 std::chrono::milliseconds timeout) {
  STRATA_TRY_ASSIGN(Pipe out, MakePipe());
  STRATA_TRY_ASSIGN(Pipe err, MakePipe());
  STRATA_TRY_ASSIGN(const pid_t pid, Spawn(argv, out.write.get(), err.write.get()));
  out.write.reset();
  err.write.reset();
  ProcessResult result;
  const bool ended = Drain(out, err, result, Clock::now() + timeout);
  if (!ended) ::kill(pid, SIGKILL);
  int status = 0;
  if (::waitpid(pid, &status, 0) != pid) return FailErrno("waitpid", argv[0]);
  if (!ended) return Fail(ETIMEDOUT, "run", argv[0] + ": " + result.err);
  result.exit_code = ExitCode(status);
  return result;
}

Result<ProcessResult> RunTool(const std::vector<std::string>& argv, int highest_good_code) {
  STRATA_TRY_ASSIGN(ProcessResult result, RunProcess(argv));
  if (result.exit_code > highest_good_code) {
    return Fail(EIO, "run", argv[0] + ": " + result.out + result.err);
  }
  return result;
}

Result<ChildProcess> ChildProcess::Start(const std::vector<std::string>& argv,
                                         const std::string& log_path) {
  UniqueFd log(::open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!log) return FailErrno("open", log_path);
  ChildProcess child;
  STRATA_TRY_ASSIGN(child.pid_, Spawn(argv, log.get(), log.get()));
  return child;
}

Result<ChildProcess> ChildProcess::Fork(const std::function<int()>& body) {
  const pid_t pid = ::fork();
  if (pid < 0) return FailErrno("fork");
  if (pid == 0) ::_exit(body());
  ChildProcess child;
  child.pid_ = pid;
  return child;
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), exit_code_(other.exit_code_) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(exit_code_, other.exit_code_);
  return *this;
}

ChildProcess::~ChildProcess() { Kill(); }

bool ChildProcess::Running() {
  if (pid_ < 0) return false;
  int status = 0;
  const pid_t ended = ::waitpid(pid_, &status, WNOHANG);
  if (ended == 0) return true;
  exit_code_ = ended == pid_ ? ExitCode(status) : -1;
  pid_ = -1;
  return false;
}

Result<> ChildProcess::Signal(int number) {
  if (pid_ < 0) return Fail(ESRCH, "kill");
  if (::kill(pid_, number) != 0) return FailErrno("kill");
  return {};
}

Result<int> ChildProcess::Wait(std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  useconds_t pause = 200;
  while (Running()) {
    if (Clock::now() >= deadline) return Fail(ETIMEDOUT, "waitpid");
    ::usleep(pause);
    if (pause < 10'000) pause *= 2;
  }
  return exit_code_;
}

void ChildProcess::Kill() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  int status = 0;
  if (::waitpid(pid_, &status, 0) == pid_) exit_code_ = ExitCode(status);
  pid_ = -1;
}

}  // namespace strata::support
