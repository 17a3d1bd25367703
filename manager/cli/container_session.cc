#include "manager/cli/container_session.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "base/try.h"
#include "manager/cli/command.h"
#include "manager/cli/stdcopy.h"

namespace strata::manager::cli {
namespace {

constexpr std::size_t kMaxAnswer = 1UL * 1024 * 1024;
constexpr int kSignalBase = 128;

Result<> Dropped(Result<Json> answer) {
  if (!answer) return std::unexpected(std::move(answer).error());
  return {};
}

std::function<void(WindowSize)> Resizer(Client& client, std::string path) {
  return [&client, path = std::move(path)](WindowSize size) {
    // The program may not be running yet or not any more; the next change tells it again.
    Ignore(Dropped(client.Post(path + Query({{"h", std::to_string(size.rows)},
                                             {"w", std::to_string(size.columns)}}))),
           "resizing is best effort");
  };
}

std::function<void(int)> SignalForwarder(Client& client, std::string id) {
  return [&client, id = std::move(id)](int signal) {
    Ignore(
        Dropped(client.Post(ContainerPath(id) + "/kill" + Query({{"signal", SignalName(signal)}}))),
        "the container may have ended by itself");
  };
}

// Reads the answer to /wait while signals still have their effect.
Result<int> ReadExitStatus(HttpExchange& wait, SignalQueue& signals,
                           const std::function<void(int)>& forward) {
  while (!wait.HasBuffered()) {
    std::array<pollfd, 2> entries{};
    entries[0] = {.fd = wait.fd(), .events = POLLIN, .revents = 0};
    entries[1] = {.fd = signals.fd(), .events = POLLIN, .revents = 0};
    if (::poll(entries.data(), entries.size(), -1) < 0 && errno != EINTR) return FailErrno("poll");
    while (const auto signal = signals.Take()) {
      if (*signal == SIGWINCH) continue;
      if (!forward) return kSignalBase + *signal;
      forward(*signal);
    }
    if (entries[0].revents != 0) break;
  }
  STRATA_TRY_ASSIGN(const std::string body, wait.ReadAll(kMaxAnswer));
  STRATA_TRY_ASSIGN(const Json answer, ParseJson(body));
  if (const std::string message = TextAt(answer, "Error.Message"); !message.empty()) {
    return Fail(EIO, kDaemonError, message);
  }
  return static_cast<int>(NumberAt(answer, "StatusCode"));
}

Result<HttpExchange> StartWaiting(Client& client, const std::string& id,
                                  const std::string& condition) {
  HttpRequest request;
  request.method = "POST";
  request.target = ContainerPath(id) + "/wait" + Query({{"condition", condition}});
  return client.Start(request);
}

// How an exec that just closed its output ended. The daemon may learn of the exit a moment later.
Result<int> ExecExitStatus(Client& client, const std::string& exec_id) {
  constexpr std::chrono::milliseconds kPause{10};
  constexpr int kTries = 500;
  for (int tries = 0;; ++tries) {
    STRATA_TRY_ASSIGN(const Json exec, client.Get("/exec/" + exec_id + "/json"));
    if (!TruthAt(exec, "Running")) return static_cast<int>(NumberAt(exec, "ExitCode"));
    if (tries == kTries) return Fail(ETIMEDOUT, "exec", "its output ended but it still runs");
    std::this_thread::sleep_for(kPause);
  }
}

SessionOptions ToSessionOptions(const AttachOptions& options, bool raw,
                                const std::string& content_type) {
  SessionOptions session;
  // Daemons before API 1.42 do not name the framed form; without a terminal it always is.
  session.framed = content_type == kFramedOutput || !options.tty;
  session.send_stdin = options.send_stdin;
  session.raw = raw;
  session.detach_keys = options.detach_keys;
  return session;
}

}  // namespace

Result<bool> WantsRawMode(const AttachOptions& options) {
  if (!options.tty || !options.send_stdin) return false;
  if (!IsTerminal(STDIN_FILENO)) {
    return UsageError("standard input is not a terminal (leave out -t)");
  }
  return true;
}

int StatusOfStartFailure(std::string_view message) {
  const auto says = [&](std::string_view words) {
    return message.find(words) != std::string_view::npos;
  };
  if (says("executable file not found") || says("no such file or directory") ||
      says("system cannot find the file specified")) {
    return kExitNotFound;
  }
  if (says("permission denied") || says("is a directory")) return kExitCannotInvoke;
  return kExitUsage;
}

Result<int> AttachUntilExit(Client& client, const std::string& id, const AttachOptions& options) {
  STRATA_TRY_ASSIGN(const bool raw, WantsRawMode(options));
  STRATA_TRY_ASSIGN(SignalQueue signals, BlockSessionSignals());
  const std::string path = ContainerPath(id);
  STRATA_TRY_ASSIGN(auto attached,
                    client.Hijack(path + "/attach" +
                                      Query({{"stream", "1"},
                                             {"stdin", options.send_stdin ? "1" : ""},
                                             {"stdout", "1"},
                                             {"stderr", "1"}}),
                                  Json()));
  STRATA_TRY_ASSIGN(HttpExchange wait, StartWaiting(client, id, options.wait_condition));
  if (options.start) STRATA_TRY(options.start());

  SessionOptions session = ToSessionOptions(options, raw, attached.content_type);
  session.resize = Resizer(client, path + "/resize");
  if (options.proxy_signals && !options.tty) session.forward_signal = SignalForwarder(client, id);
  STRATA_TRY_ASSIGN(const SessionEnd end,
                    RunSession(std::move(attached.connection), signals, session));
  switch (end.reason) {
    case SessionEnd::Reason::kDetached:
      return 0;
    case SessionEnd::Reason::kSignal:
      return kSignalBase + end.signal;
    case SessionEnd::Reason::kOutputEnded:
      break;
  }
  return ReadExitStatus(wait, signals, session.forward_signal);
}

Result<int> ExecUntilExit(Client& client, const std::string& exec_id,
                          const AttachOptions& options) {
  STRATA_TRY_ASSIGN(const bool raw, WantsRawMode(options));
  STRATA_TRY_ASSIGN(SignalQueue signals, BlockSessionSignals());
  const std::string path = "/exec/" + exec_id;
  Json start = Json::object();
  start["Detach"] = false;
  start["Tty"] = options.tty;
  STRATA_TRY_ASSIGN(auto attached, client.Hijack(path + "/start", start));
  SessionOptions session = ToSessionOptions(options, raw, attached.content_type);
  session.resize = Resizer(client, path + "/resize");
  STRATA_TRY_ASSIGN(const SessionEnd end,
                    RunSession(std::move(attached.connection), signals, session));
  switch (end.reason) {
    case SessionEnd::Reason::kDetached:
      return 0;
    case SessionEnd::Reason::kSignal:
      return kSignalBase + end.signal;
    case SessionEnd::Reason::kOutputEnded:
      break;
  }
  return ExecExitStatus(client, exec_id);
}

}  // namespace strata::manager::cli
