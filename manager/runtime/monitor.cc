#include "manager/runtime/monitor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <array>
#include <charconv>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/file_ops.h"
#include "base/path.h"
#include "base/try.h"
#include "manager/runtime/command.h"
#include "manager/runtime/oci_runtime.h"
#include "manager/runtime/pipe.h"

namespace strata::manager {
namespace {

using nlohmann::json;

constexpr const char* kMonitorPidFile = "conmon.pid";
constexpr const char* kContainerPidFile = "pid";
constexpr const char* kMonitorLog = "conmon.log";
constexpr std::size_t kSmallFileMax = std::size_t{64} * 1024;
// How long a runtime may take to create a container before the start is given up.
constexpr auto kCreateTimeout = std::chrono::seconds(120);
// The numbers conmon finds its pipes under, told by environment variables.
constexpr int kSyncFd = 3;
constexpr int kStartFd = 4;
constexpr int kAttachFd = 5;

Result<std::string> ReadSmallFile(const std::string& path) {
  FileOps& ops = FileOps::System();
  auto fd = ops.Open(AT_FDCWD, path.c_str(), O_RDONLY);
  if (!fd) return std::unexpected(std::move(fd).error().WithContext(path));
  return ReadAll(ops, fd->get(), kSmallFileMax);
}

Result<int> ReadNumber(const std::string& path) {
  STRATA_TRY_ASSIGN(const std::string text, ReadSmallFile(path));
  int value = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc()) {
    return Fail(EINVAL, "read number", path + " holds no number");
  }
  return value;
}

// One line from a pipe, or what came before its end.
Result<std::string> ReadLine(int fd, std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  std::string text;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return Fail(ETIMEDOUT, "conmon", "no answer from the runtime");
    pollfd poll_fd{fd, POLLIN, 0};
    if (::poll(&poll_fd, 1, static_cast<int>(left.count())) == -1 && errno != EINTR) {
      return FailErrno("poll");
    }
    if (poll_fd.revents == 0) continue;
    std::array<char, 4096> buffer;
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got == -1 && errno == EINTR) continue;
    if (got == -1) return FailErrno("read");
    text.append(buffer.data(), static_cast<std::size_t>(got));
    // The end of a short exec may be told in the same read.
    if (const std::size_t end = text.find('\n'); end != std::string::npos) text.resize(end + 1);
    if (got == 0 || text.ends_with('\n') || text.size() > kSmallFileMax) return text;
  }
}

Result<> WriteByte(int fd) {
  const char byte = 0;
  if (::write(fd, &byte, 1) != 1) return FailErrno("write start pipe");
  return {};
}

std::unexpected<Error> RuntimeError(const char* what, std::string_view output) {
  RuntimeFailure failure = ParseRuntimeFailure(output);
  if (failure.message.empty()) failure.message = "the monitor ended without an answer";
  int code = EIO;
  if (failure.kind == RuntimeFailure::Kind::kNotFound) code = ENOENT;
  if (failure.kind == RuntimeFailure::Kind::kNotExecutable) code = EACCES;
  return Fail(code, what, std::move(failure.message));
}

// conmon's answer on the sync pipe: {"pid": N} or, with older interfaces, {"data": N}; negative
// means failure and "message" says why.
Result<pid_t> ParseAnswer(const std::string& text, const std::string& directory, const char* what) {
  const json parsed = json::parse(text, nullptr, false);
  pid_t pid = -1;
  if (parsed.is_object()) {
    for (const char* key : {"pid", "data", "exit_code"}) {
      const auto it = parsed.find(key);
      if (it != parsed.end() && it->is_number_integer()) pid = it->get<pid_t>();
    }
  }
  if (pid > 0) return pid;
  std::string message;
  if (parsed.is_object() && parsed.contains("message") && parsed["message"].is_string()) {
    message = parsed["message"].get<std::string>();
  }
  if (message.empty()) message = ReadSmallFile(JoinPath(directory, kMonitorLog)).value_or("");
  return RuntimeError(what, message);
}

// What Create and Exec share: arguments, pipes, and the program's own end after it went into the
// background.
Result<> Launch(std::vector<std::string> argv, const std::string& directory,
                const std::vector<std::pair<int, int>>& descriptors) {
  CommandOptions options;
  options.stderr_file = JoinPath(directory, kMonitorLog);
  options.new_session = true;
  options.timeout = kCreateTimeout;
  options.descriptors = descriptors;
  for (const auto& [ours, theirs] : descriptors) {
    const char* name = theirs == kSyncFd    ? "_OCI_SYNCPIPE"
                       : theirs == kStartFd ? "_OCI_STARTPIPE"
                                            : "_OCI_ATTACHPIPE";
    options.environment.emplace_back(name, std::to_string(theirs));
  }
  STRATA_TRY_ASSIGN(const CommandResult result, RunCommand(argv, options));
  if (result.ok()) return {};
  return RuntimeError("conmon", ReadSmallFile(options.stderr_file).value_or(""));
}

void AppendFlag(std::vector<std::string>& argv, bool wanted, const char* flag) {
  if (wanted) argv.emplace_back(flag);
}

}  // namespace

Result<std::unique_ptr<Monitor>> Monitor::Open(const Options& options) {
  std::unique_ptr<Monitor> monitor(new Monitor());
  monitor->program_ = options.program;
  if (monitor->program_.empty()) {
    STRATA_TRY_ASSIGN(monitor->program_, FindProgram("conmon"));
  }
  monitor->runtime_ = options.runtime;
  monitor->runtime_root_ = options.runtime_root;
  STRATA_TRY_ASSIGN(const CommandResult version, RunCommand({monitor->program_, "--version"}));
  constexpr std::string_view kPrefix = "conmon version ";
  const std::string line = version.out.substr(0, version.out.find('\n'));
  if (!version.ok() || !line.starts_with(kPrefix)) {
    return Fail(ENOEXEC, "probe conmon", monitor->program_ + " does not tell its version");
  }
  monitor->version_ = line.substr(kPrefix.size());
  return monitor;
}

Result<Monitor::Created> Monitor::Create(const CreateRequest& request) {
  std::vector<std::string> argv{program_,
                                "-c",
                                request.id,
                                "-u",
                                request.id,
                                "-n",
                                request.name,
                                "-r",
                                runtime_,
                                "--runtime-arg",
                                "--root",
                                "--runtime-arg",
                                runtime_root_,
                                "-b",
                                request.bundle,
                                "-p",
                                JoinPath(request.bundle, kContainerPidFile),
                                "--conmon-pidfile",
                                JoinPath(request.bundle, kMonitorPidFile),
                                "--exit-dir",
                                std::string(DirName(request.exit_file)),
                                "--full-attach",
                                "--log-level",
                                "error",
                                "--no-sync-log",
                                "-l",
                                request.log_path.empty() ? "none" : "k8s-file:" + request.log_path};
  if (request.log_size_max > 0) {
    argv.insert(argv.end(), {"--log-size-max", std::to_string(request.log_size_max)});
  }
  AppendFlag(argv, request.terminal, "-t");
  AppendFlag(argv, request.stdin_open, "-i");
  // A terminal's input ends with a character, not with its client: who detached may come back.
  AppendFlag(argv, request.stdin_open && (request.terminal || !request.stdin_once),
             "--leave-stdin-open");

  STRATA_TRY_ASSIGN(Pipe sync, MakePipe());
  STRATA_TRY(Launch(std::move(argv), request.bundle, {{sync.write.get(), kSyncFd}}));
  sync.write.reset();
  STRATA_TRY_ASSIGN(const std::string answer, ReadLine(sync.read.get(), kCreateTimeout));
  Created created;
  STRATA_TRY_ASSIGN(created.pid, ParseAnswer(answer, request.bundle, "create"));
  STRATA_TRY_ASSIGN(created.monitor_pid, ReadNumber(JoinPath(request.bundle, kMonitorPidFile)));
  return created;
}

std::string Monitor::ExecExitFile(const ExecRequest& request) {
  return JoinPath(JoinPath(request.directory, "exit"), request.container);
}

Result<Monitor::ExecStarted> Monitor::Exec(const ExecRequest& request) {
  const std::string exit_dir = JoinPath(request.directory, "exit");
  if (::mkdir(exit_dir.c_str(), 0700) == -1 && errno != EEXIST) {
    return FailErrno("mkdir", exit_dir);
  }
  std::vector<std::string> argv{program_,
                                "-c",
                                request.container,
                                "-u",
                                request.exec_id,
                                "-n",
                                request.exec_id,
                                "-r",
                                runtime_,
                                "--runtime-arg",
                                "--root",
                                "--runtime-arg",
                                runtime_root_,
                                "-b",
                                request.directory,
                                "-p",
                                JoinPath(request.directory, kContainerPidFile),
                                "--conmon-pidfile",
                                JoinPath(request.directory, kMonitorPidFile),
                                "--exit-dir",
                                exit_dir,
                                "--full-attach",
                                "--log-level",
                                "error",
                                "--no-sync-log",
                                "-l",
                                "none",
                                "--api-version",
                                "1",
                                "-e",
                                "--exec-process-spec",
                                JoinPath(request.directory, "process.json")};
  AppendFlag(argv, request.terminal, "-t");
  AppendFlag(argv, request.stdin_open, "-i");
  AppendFlag(argv, request.attach, "--exec-attach");

  STRATA_TRY_ASSIGN(Pipe sync, MakePipe());
  STRATA_TRY_ASSIGN(Pipe start, MakePipe());
  STRATA_TRY_ASSIGN(Pipe attach, MakePipe());
  // The first byte lets conmon go into the background; with a client it waits for a second one
  // before it runs anything, so that no output is lost.
  STRATA_TRY(WriteByte(start.write.get()));
  std::vector<std::pair<int, int>> descriptors{{sync.write.get(), kSyncFd},
                                               {start.read.get(), kStartFd}};
  if (request.attach) descriptors.emplace_back(attach.write.get(), kAttachFd);
  STRATA_TRY(Launch(std::move(argv), request.directory, descriptors));
  sync.write.reset();
  start.read.reset();
  attach.write.reset();

  ExecStarted started;
  if (request.attach) {
    STRATA_TRY(ReadLine(attach.read.get(), kCreateTimeout));
    STRATA_TRY_ASSIGN(started.stream, Attach(request.directory));
    STRATA_TRY(WriteByte(start.write.get()));
  }
  STRATA_TRY_ASSIGN(const std::string answer, ReadLine(sync.read.get(), kCreateTimeout));
  STRATA_TRY_ASSIGN(started.pid, ParseAnswer(answer, request.directory, "exec"));
  STRATA_TRY_ASSIGN(started.monitor_pid, ReadNumber(JoinPath(request.directory, kMonitorPidFile)));
  return started;
}

Result<UniqueFd> Monitor::Attach(const std::string& directory) {
  // A socket's address holds 107 bytes; through /proc a path of any length fits.
  STRATA_TRY_ASSIGN(const UniqueFd dir,
                    FileOps::System().Open(AT_FDCWD, directory.c_str(), O_PATH | O_DIRECTORY));
  const std::string path = ProcFdPath(dir.get()) + "/attach";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!fd) return FailErrno("socket");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == -1) {
    return FailErrno("connect", JoinPath(directory, "attach"));
  }
  return fd;
}

Result<> Monitor::Resize(const std::string& directory, std::uint16_t rows, std::uint16_t columns) {
  FileOps& ops = FileOps::System();
  // ENXIO without a reader: the monitor is gone.
  STRATA_TRY_ASSIGN(const UniqueFd fd,
                    ops.Open(AT_FDCWD, JoinPath(directory, "ctl").c_str(), O_WRONLY | O_NONBLOCK));
  // 1 is conmon's resize message.
  return WriteAll(ops, fd.get(),
                  "1 " + std::to_string(rows) + ' ' + std::to_string(columns) + '\n');
}

Result<int> Monitor::ReadExitCode(const std::string& exit_file) {
  STRATA_TRY_ASSIGN(const int code, ReadNumber(exit_file));
  // conmon writes -1 where the runtime never started the process.
  return code < 0 ? 255 : code;
}

Result<UniqueFd> Monitor::OpenMonitorPid(const std::string& directory) {
  STRATA_TRY_ASSIGN(const int pid, ReadNumber(JoinPath(directory, kMonitorPidFile)));
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) return FailErrno("pidfd_open", "conmon");
  // The number may have been given to another process since: conmon's command line names the
  // bundle. Read after the pidfd is open, so that what is checked is what is held.
  STRATA_TRY_ASSIGN(const std::string command,
                    ReadSmallFile("/proc/" + std::to_string(pid) + "/cmdline"));
  if (command.find(directory) == std::string::npos) {
    return Fail(ESRCH, "pidfd_open", "process " + std::to_string(pid) + " is another program");
  }
  return pidfd;
}

}  // namespace strata::manager
