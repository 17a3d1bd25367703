#include "fusefs/transport/fusermount.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cstring>
#include <optional>
#include <string_view>

#include "base/file_ops.h"
#include "base/try.h"

namespace strata::fusefs {
namespace {

constexpr const char* kHelper = "fusermount3";
constexpr std::string_view kSocketVariable = "_FUSE_COMMFD=";
constexpr std::size_t kMaxMessage = 4096;

struct Outcome {
  int exit_code = 0;
  std::string message;  // what the helper wrote on stderr
};

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> EnvironmentWith(const std::optional<int>& socket) {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!std::string_view(*entry).starts_with(kSocketVariable)) environment.emplace_back(*entry);
  }
  if (socket) environment.push_back(std::string(kSocketVariable) + std::to_string(*socket));
  return environment;
}

Result<pid_t> Spawn(std::vector<std::string> arguments, int error_output,
                    const std::optional<int>& socket) {
  posix_spawn_file_actions_t actions;
  if (const int error = ::posix_spawn_file_actions_init(&actions); error != 0) {
    return Fail(error, "posix_spawn");
  }
  int error = ::posix_spawn_file_actions_adddup2(&actions, error_output, STDERR_FILENO);
  // dup2 onto itself clears close-on-exec in the child.
  if (error == 0 && socket) {
    error = ::posix_spawn_file_actions_adddup2(&actions, *socket, *socket);
  }
  pid_t child = 0;
  if (error == 0) {
    std::vector<std::string> environment = EnvironmentWith(socket);
    error = ::posix_spawnp(&child, kHelper, &actions, nullptr, Pointers(arguments).data(),
                           Pointers(environment).data());
  }
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return Fail(error, "posix_spawn", kHelper);
  return child;
}

Result<int> ExitCode(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return FailErrno("waitpid", kHelper);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Result<Outcome> Run(std::vector<std::string> arguments, const std::optional<int>& socket) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return FailErrno("pipe2");
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  STRATA_TRY_ASSIGN(const pid_t child, Spawn(std::move(arguments), write_end.get(), socket));
  write_end.reset();
  auto message = ReadAll(FileOps::System(), read_end.get(), kMaxMessage);
  STRATA_TRY_ASSIGN(const int exit_code, ExitCode(child));
  Outcome outcome{.exit_code = exit_code, .message = message ? std::move(*message) : ""};
  while (!outcome.message.empty() && outcome.message.back() == '\n') outcome.message.pop_back();
  return outcome;
}

Result<UniqueFd> ReceiveDescriptor(int socket) {
  char byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got = 0;
  do {
    got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return FailErrno("recvmsg", kHelper);
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (got == 0 || header == nullptr || header->cmsg_level != SOL_SOCKET ||
      header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(sizeof(int))) {
    return Fail(EPROTO, "receive the mount", kHelper);
  }
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return UniqueFd(fd);
}

}  // namespace

Result<UniqueFd> FusermountMount(const std::string& mountpoint,
                                 const std::vector<std::string>& options) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return FailErrno("socketpair");
  }
  const UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  std::string joined;
  for (const std::string& option : options) joined.append(joined.empty() ? "" : ",").append(option);
  STRATA_TRY_ASSIGN(const Outcome outcome,
                    Run({kHelper, "-o", joined, "--", mountpoint}, theirs.get()));
  theirs.reset();
  if (outcome.exit_code != 0) {
    return Fail(EPERM, "mount",
                outcome.message.empty() ? std::string(kHelper) + " failed" : outcome.message);
  }
  return ReceiveDescriptor(ours.get());
}

Result<> FusermountUnmount(const std::string& mountpoint, bool lazy) {
  std::vector<std::string> arguments{kHelper, "-u"};
  if (lazy) arguments.emplace_back("-z");
  arguments.emplace_back("--");
  arguments.push_back(mountpoint);
  STRATA_TRY_ASSIGN(const Outcome outcome, Run(std::move(arguments), std::nullopt));
  if (outcome.exit_code != 0) return Fail(EBUSY, "unmount", outcome.message);
  return {};
}

}  // namespace strata::fusefs
