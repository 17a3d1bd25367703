// /containers/{id}/exec and /exec.
#include "base/try.h"
#include "manager/api/api.h"
#include "manager/api/attach_bridge.h"
#include "manager/api/replies.h"
#include "manager/api/router.h"
#include "manager/container/container_service.h"
#include "manager/container/error_text.h"
#include "manager/container/json.h"
#include "manager/container/json_fields.h"

namespace strata::manager {
namespace {

using nlohmann::json;

// From the end of the output to the exit code in the monitor's file.
constexpr int kExitSeconds = 10;

Result<> Create(Exchange& exchange, const ApiContext& context, const std::string& id) {
  STRATA_TRY_ASSIGN(const json body, ReadJson(exchange));
  STRATA_TRY_ASSIGN(ExecConfig config, ParseExecConfig(body));
  STRATA_TRY_ASSIGN(const std::string exec, context.containers.CreateExec(id, std::move(config)));
  return ReplyJson(exchange, 201, {{"Id", exec}});
}

Result<> Start(Exchange& exchange, const ApiContext& context, const std::string& id) {
  STRATA_TRY_ASSIGN(const json body, ReadJson(exchange));
  bool detach = false;
  if (!body.is_null()) {
    JsonFields fields(body);
    fields.Get("Detach", detach);
    STRATA_TRY(fields.Finish());
  }
  STRATA_TRY_ASSIGN(const ExecState exec, context.containers.FindExec(id));
  if (exec.started) {
    return Fail(EBUSY, "exec", "Error: Exec command " + id + " has already run");
  }
  if (detach) {
    STRATA_TRY(context.containers.StartExec(id, false));
    return ReplyNothing(exchange, 200);
  }
  BridgeOptions options;
  options.tty = exec.config.tty;
  options.want_stdin = exec.config.attach_stdin;
  options.want_stdout = exec.config.attach_stdout;
  options.want_stderr = exec.config.attach_stderr;
  const bool framed = !exec.config.tty && exchange.request().api_minor >= 42;
  STRATA_TRY_ASSIGN(options.pending,
                    exchange.Hijack(framed ? "application/vnd.docker.multiplexed-stream"
                                           : "application/vnd.docker.raw-stream"));
  auto stream = context.containers.StartExec(id, true);
  if (!stream) {
    // The head is out: the reason goes to the client's terminal, as docker does it.
    const std::string text = ErrorText(stream.error()) + "\r\n";
    return exchange.SendRaw(exec.config.tty ? text : Frame(1, text));
  }
  auto bridged = Bridge(exchange, stream->get(), std::move(options));
  // Clients ask for the code as soon as the stream has ended.
  if (bridged) context.containers.WaitExec(id, kExitSeconds);
  return bridged;
}

Result<> Resize(Exchange& exchange, const ApiContext& context, const std::string& id) {
  STRATA_TRY_ASSIGN(const std::int64_t rows, exchange.request().QueryInt("h", 0));
  STRATA_TRY_ASSIGN(const std::int64_t columns, exchange.request().QueryInt("w", 0));
  if (!std::in_range<std::uint16_t>(rows) || !std::in_range<std::uint16_t>(columns)) {
    return Fail(EINVAL, "resize", "invalid size");
  }
  STRATA_TRY(context.containers.ResizeExec(id, static_cast<std::uint16_t>(rows),
                                           static_cast<std::uint16_t>(columns)));
  return ReplyNothing(exchange, 200);
}

Result<> Inspect(Exchange& exchange, const ApiContext& context, const std::string& id) {
  STRATA_TRY_ASSIGN(const ExecState exec, context.containers.FindExec(id));
  const std::vector<std::string> arguments(exec.config.cmd.begin() + 1, exec.config.cmd.end());
  return ReplyJson(exchange, 200,
                   {{"ID", exec.id},
                    {"ContainerID", exec.container},
                    {"Running", exec.running},
                    {"ExitCode", exec.exit_code ? json(*exec.exit_code) : json(nullptr)},
                    {"Pid", exec.pid},
                    {"OpenStdin", exec.config.attach_stdin},
                    {"OpenStdout", exec.config.attach_stdout},
                    {"OpenStderr", exec.config.attach_stderr},
                    {"CanRemove", false},
                    {"DetachKeys", exec.config.detach_keys},
                    {"ProcessConfig",
                     {{"tty", exec.config.tty},
                      {"entrypoint", exec.config.cmd[0]},
                      {"arguments", arguments},
                      {"privileged", exec.config.privileged},
                      {"user", exec.config.user}}}});
}

}  // namespace

void AddExecRoutes(Router& router, const ApiContext& context) {
  const auto add = [&](const char* method, const char* path, auto handler) {
    router.Add(method, path, [&context, handler](Exchange& e, const RouteParameters& p) {
      return handler(e, context, p.at("id"));
    });
  };
  add("POST", "/containers/{id}/exec", Create);
  add("POST", "/exec/{id}/start", Start);
  add("POST", "/exec/{id}/resize", Resize);
  add("GET", "/exec/{id}/json", Inspect);
}

}  // namespace strata::manager
