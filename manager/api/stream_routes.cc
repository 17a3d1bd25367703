// Requests that last: attach, logs, wait.
#include <array>

#include "base/try.h"
#include "manager/api/api.h"
#include "manager/api/attach_bridge.h"
#include "manager/api/replies.h"
#include "manager/api/router.h"
#include "manager/container/container_service.h"
#include "manager/container/json.h"
#include "manager/container/log_file.h"

namespace strata::manager {
namespace {

using nlohmann::json;

bool IsActive(const ContainerRecord& record) {
  return record.state.status == Status::kRunning || record.state.status == Status::kPaused;
}

const char* StreamType(const HttpRequest& request, bool tty) {
  return !tty && request.api_minor >= 42 ? "application/vnd.docker.multiplexed-stream"
                                         : "application/vnd.docker.raw-stream";
}

struct LogOutput {
  bool tty = false;
  bool timestamps = false;
  bool raw_connection = false;  // after a hijack
};

Result<> SendEntry(Exchange& exchange, const LogEntry& entry, const LogOutput& output) {
  std::string text;
  if (output.timestamps) text = TimeText(entry.time_ns) + ' ';
  text += entry.text;
  if (!output.tty) text = Frame(entry.is_stderr ? 2 : 1, text);
  return output.raw_connection ? exchange.SendRaw(text) : exchange.Send(text);
}

Result<> SendLog(Exchange& exchange, LogFile& log, const LogOutput& output) {
  for (;;) {
    STRATA_TRY_ASSIGN(const std::optional<LogEntry> entry, log.Next());
    if (!entry) return {};
    STRATA_TRY(SendEntry(exchange, *entry, output));
  }
}

Result<> Logs(Exchange& exchange, const ApiContext& context, const std::string& id) {
  const HttpRequest& request = exchange.request();
  LogQuery query;
  query.want_stdout = request.QueryFlag("stdout");
  query.want_stderr = request.QueryFlag("stderr");
  if (!query.want_stdout && !query.want_stderr) {
    return Fail(EINVAL, "logs", "Bad parameters: you must choose at least one stream");
  }
  STRATA_TRY_ASSIGN(query.since_ns, request.QueryTime("since", 0));
  STRATA_TRY_ASSIGN(query.until_ns, request.QueryTime("until", 0));
  if (const auto tail = request.Query("tail"); !tail.empty() && tail != "all") {
    STRATA_TRY_ASSIGN(query.tail, request.QueryInt("tail", -1));
  }
  STRATA_TRY_ASSIGN(ContainerRecord record, context.containers.Find(id));
  LogOutput output{.tty = record.config.tty, .timestamps = request.QueryFlag("timestamps")};
  STRATA_TRY_ASSIGN(const auto log,
                    LogFile::Open(context.containers.paths().Log(record.id), query));
  STRATA_TRY_ASSIGN(const auto ended,
                    context.containers.Wait(record.id, WaitCondition::kNotRunning));
  STRATA_TRY(exchange.Begin(200, StreamType(request, record.config.tty)));
  STRATA_TRY(SendLog(exchange, *log, output));
  if (!request.QueryFlag("follow")) return {};
  while (!log->finished()) {
    // Looked at before the log is read: what is written until then is not missed.
    const auto now = context.containers.Find(record.id);
    const bool active = now && IsActive(*now);
    log->ClearChanges();
    STRATA_TRY(SendLog(exchange, *log, output));
    if (!active) return {};
    const std::array fds{log->change_fd(), ended->fd()};
    if (!exchange.AwaitReadable(fds, std::chrono::milliseconds(-1))) return {};
  }
  return {};
}

Result<> Attach(Exchange& exchange, const ApiContext& context, const std::string& id) {
  const HttpRequest& request = exchange.request();
  STRATA_TRY_ASSIGN(const ContainerRecord record, context.containers.Find(id));
  if (record.state.status == Status::kPaused) {
    return Fail(EBUSY, "attach", "Container " + id + " is paused. Unpause the container first");
  }
  BridgeOptions options;
  options.tty = record.config.tty;
  options.want_stdin = request.QueryFlag("stdin") && record.config.open_stdin;
  options.want_stdout = request.QueryFlag("stdout");
  options.want_stderr = request.QueryFlag("stderr");
  STRATA_TRY(exchange.ReadBody(64UL * 1024));
  const bool stream = request.QueryFlag("stream");
  std::shared_ptr<AttachWait> attach;
  if (stream) {
    STRATA_TRY_ASSIGN(attach, context.containers.Attach(record.id));
  }
  STRATA_TRY_ASSIGN(options.pending, exchange.Hijack(StreamType(request, record.config.tty)));
  if (request.QueryFlag("logs")) {
    LogQuery query;
    query.want_stdout = options.want_stdout;
    query.want_stderr = options.want_stderr;
    STRATA_TRY_ASSIGN(const auto log,
                      LogFile::Open(context.containers.paths().Log(record.id), query));
    STRATA_TRY(SendLog(exchange, *log, {.tty = options.tty, .raw_connection = true}));
  }
  if (!attach) return {};
  // A client may already have ended its input; only its full close ends the wait.
  const std::array fds{attach->fd()};
  std::optional<Result<UniqueFd>> connected = attach->Take();
  while (!connected) {
    if (!exchange.AwaitReadable(fds, std::chrono::milliseconds(-1))) return {};
    connected = attach->Take();
  }
  if (!*connected) return std::unexpected(std::move(*connected).error());
  return Bridge(exchange, (*connected)->get(), std::move(options));
}

Result<> Wait(Exchange& exchange, const ApiContext& context, const std::string& id) {
  const std::string_view text = exchange.request().Query("condition");
  WaitCondition condition = WaitCondition::kNotRunning;
  if (text == "next-exit") {
    condition = WaitCondition::kNextExit;
  } else if (text == "removed") {
    condition = WaitCondition::kRemoved;
  } else if (!text.empty() && text != "not-running") {
    return Fail(EINVAL, "wait", "invalid condition: \"" + std::string(text) + "\"");
  }
  STRATA_TRY_ASSIGN(const auto wait, context.containers.Wait(id, condition));
  STRATA_TRY(exchange.Begin(200, "application/json"));
  const std::array fds{wait->fd()};
  if (!exchange.AwaitReadable(fds, std::chrono::milliseconds(-1))) return {};
  const auto outcome = wait->Take();
  if (!outcome) return {};
  json body{{"StatusCode", outcome->exit_code}};
  if (!outcome->error.empty()) body["Error"] = {{"Message", outcome->error}};
  return exchange.Send(Dump(body) + '\n');
}

}  // namespace

void AddStreamRoutes(Router& router, const ApiContext& context) {
  const auto add = [&](const char* method, const char* path, auto handler) {
    router.Add(method, path, [&context, handler](Exchange& e, const RouteParameters& p) {
      return handler(e, context, p.at("id"));
    });
  };
  add("GET", "/containers/{id}/logs", Logs);
  add("POST", "/containers/{id}/attach", Attach);
  add("POST", "/containers/{id}/wait", Wait);
}

}  // namespace strata::manager
