// run, create, start, attach and exec: the commands that start programs and stay with them.
#include <fcntl.h>

#include <nlohmann/json.hpp>

#include "base/file_ops.h"
#include "base/try.h"
#include "manager/cli/command.h"
#include "manager/cli/container_session.h"
#include "manager/cli/pull.h"
#include "manager/cli/run_options.h"

namespace strata::manager::cli {
namespace {

using Kind = FlagSpec::Kind;

constexpr FlagSpec kDetachKeys{"detach-keys", 0, Kind::kValue, "KEYS",
                               "keys that detach from a terminal (ctrl-p,ctrl-q)"};

Result<std::string> DetachKeys(const Flags& flags) {
  return ParseDetachKeys(flags.Value("detach-keys", kDefaultDetachKeys));
}

// The id file is made before the container: with --cidfile a script wants one or none.
Result<UniqueFd> OpenIdFile(const Flags& flags) {
  const std::string path = flags.Value("cidfile");
  if (path.empty()) return UniqueFd();
  auto file = FileOps::System().Open(AT_FDCWD, path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644);
  if (!file) return std::unexpected(std::move(file).error().WithContext(path));
  return file;
}

Result<Json> PostCreate(Client& client, const Flags& flags, const Json& body) {
  return client.Post("/containers/create" + Query({{"name", flags.Value("name")}}), body);
}

bool IsMissingImage(const Error& error) {
  return error.code() == ENOENT && error.op() == std::string_view(kDaemonError);
}

// Creates the container of `create` and `run`, pulling its image as --pull says; its id.
Result<std::string> CreateContainer(Client& client, const Flags& flags, const Json& body) {
  PullRequest pull;
  pull.reference = flags.operands()[0];
  pull.quiet = flags.On("quiet");
  const std::string policy = flags.Value("pull", "missing");
  STRATA_TRY_ASSIGN(const UniqueFd id_file, OpenIdFile(flags));
  if (policy == "always") STRATA_TRY(PullImage(client, pull));
  auto created = PostCreate(client, flags, body);
  if (!created && policy == "missing" && IsMissingImage(created.error())) {
    Complain("unable to find image '" + WithDefaultTag(pull.reference) + "' locally, pulling it");
    STRATA_TRY(PullImage(client, pull));
    created = PostCreate(client, flags, body);
  }
  if (!created) {
    if (id_file) {
      Ignore(FileOps::System().Unlink(AT_FDCWD, flags.Value("cidfile").c_str()),
             "it was only just made");
    }
    return std::unexpected(std::move(created).error());
  }
  for (const Json& warning : At(*created, "Warnings")) Complain("WARNING: " + Text(warning));
  std::string id = TextAt(*created, "Id");
  if (id_file) STRATA_TRY(WriteAll(FileOps::System(), id_file.get(), id));
  return id;
}

Result<> StartContainer(Client& client, const std::string& id) {
  auto started = client.Post(ContainerPath(id) + "/start");
  if (started || started.error().code() == EALREADY) return {};
  return std::unexpected(std::move(started).error());
}

// A failed start of `run`: reported here, because its exit status depends on the daemon's words.
int ReportStartFailure(const Error& error) {
  const std::string message = Explain(error);
  Complain(message);
  return StatusOfStartFailure(message);
}

Result<int> RunCreate(Context& context, const Flags& flags) {
  STRATA_TRY_ASSIGN(Json body, ContainerBody(flags));
  STRATA_TRY_ASSIGN(Client * client, context.client());
  body["StdinOnce"] = false;
  STRATA_TRY_ASSIGN(const std::string id, CreateContainer(*client, flags, body));
  Print(id + "\n");
  return 0;
}

Result<int> RunDetached(Client& client, const Flags& flags, const Json& body) {
  STRATA_TRY_ASSIGN(const std::string id, CreateContainer(client, flags, body));
  if (auto started = StartContainer(client, id); !started) {
    return ReportStartFailure(started.error());
  }
  Print(id + "\n");
  return 0;
}

Result<int> RunRun(Context& context, const Flags& flags) {
  STRATA_TRY_ASSIGN(Json body, ContainerBody(flags));
  const bool detach = flags.On("detach");
  AttachOptions attach;
  attach.tty = flags.On("tty");
  attach.send_stdin = flags.On("interactive");
  attach.proxy_signals = flags.Value("sig-proxy", "true") == "true";
  attach.wait_condition = flags.On("rm") ? "removed" : "next-exit";
  STRATA_TRY_ASSIGN(attach.detach_keys, DetachKeys(flags));
  if (!detach) {
    STRATA_TRY_ASSIGN(const bool raw, WantsRawMode(attach));
    body["AttachStdin"] = attach.send_stdin;
    body["AttachStdout"] = true;
    body["AttachStderr"] = true;
    body["StdinOnce"] = attach.send_stdin;
    if (const auto size = SizeOfTerminal(0); raw && size) {
      body["HostConfig"]["ConsoleSize"] = {size->rows, size->columns};
    }
  }
  STRATA_TRY_ASSIGN(Client * client, context.client());
  if (detach) return RunDetached(*client, flags, body);

  STRATA_TRY_ASSIGN(const std::string id, CreateContainer(*client, flags, body));
  attach.start = [&] { return StartContainer(*client, id); };
  auto status = AttachUntilExit(*client, id, attach);
  if (!status) return ReportStartFailure(status.error());
  return status;
}

Result<int> StartAttached(Client& client, const std::string& name, const Flags& flags) {
  STRATA_TRY_ASSIGN(const Json container, client.Get(ContainerPath(name) + "/json"));
  const std::string id = TextAt(container, "Id");
  AttachOptions attach;
  attach.tty = TruthAt(container, "Config.Tty");
  attach.send_stdin = flags.On("interactive") && TruthAt(container, "Config.OpenStdin");
  attach.proxy_signals = flags.Value("sig-proxy", "true") == "true";
  attach.wait_condition = TruthAt(container, "HostConfig.AutoRemove") ? "removed" : "next-exit";
  STRATA_TRY_ASSIGN(attach.detach_keys, DetachKeys(flags));
  attach.start = [&] { return StartContainer(client, id); };
  return AttachUntilExit(client, id, attach);
}

Result<int> RunStart(Context& context, const Flags& flags) {
  const auto& names = flags.operands();
  STRATA_TRY_ASSIGN(Client * client, context.client());
  if (flags.On("attach") || flags.On("interactive")) {
    if (names.size() > 1) return UsageError("only one container can be attached to at a time");
    return StartAttached(*client, names[0], flags);
  }
  return ForEachOperand(names, [&](const std::string& name) -> Result<> {
    STRATA_TRY(StartContainer(*client, PercentEncode(name)));
    Print(name + "\n");
    return {};
  });
}

Result<int> RunAttach(Context& context, const Flags& flags) {
  STRATA_TRY_ASSIGN(Client * client, context.client());
  const std::string& name = flags.operands()[0];
  STRATA_TRY_ASSIGN(const Json container, client->Get(ContainerPath(name) + "/json"));
  if (!TruthAt(container, "State.Running")) {
    return Fail(EINVAL, kDaemonError, "container " + name + " is not running: start it first");
  }
  if (TruthAt(container, "State.Paused")) {
    return Fail(EINVAL, kDaemonError, "container " + name + " is paused: unpause it first");
  }
  AttachOptions attach;
  attach.tty = TruthAt(container, "Config.Tty");
  attach.send_stdin = !flags.On("no-stdin") && TruthAt(container, "Config.OpenStdin");
  attach.proxy_signals = flags.Value("sig-proxy", "true") == "true";
  attach.wait_condition = "not-running";
  STRATA_TRY_ASSIGN(attach.detach_keys, DetachKeys(flags));
  return AttachUntilExit(*client, TextAt(container, "Id"), attach);
}

Result<Json> ExecBody(const Flags& flags) {
  const bool attached = !flags.On("detach");
  const auto& operands = flags.operands();
  Json body = Json::object();
  body["Cmd"] = std::vector<std::string>(operands.begin() + 1, operands.end());
  body["Tty"] = flags.On("tty");
  body["AttachStdin"] = attached && flags.On("interactive");
  body["AttachStdout"] = attached;
  body["AttachStderr"] = attached;
  body["Privileged"] = flags.On("privileged");
  body["User"] = flags.Value("user");
  body["WorkingDir"] = flags.Value("workdir");
  STRATA_TRY_ASSIGN(const auto environment,
                    CollectEnvironment(flags.List("env-file"), flags.List("env")));
  body["Env"] = environment;
  return body;
}

Result<int> RunExec(Context& context, const Flags& flags) {
  AttachOptions attach;
  attach.tty = flags.On("tty");
  attach.send_stdin = flags.On("interactive") && !flags.On("detach");
  STRATA_TRY_ASSIGN(attach.detach_keys, DetachKeys(flags));
  STRATA_TRY_ASSIGN(Json body, ExecBody(flags));
  STRATA_TRY_ASSIGN(const bool raw, WantsRawMode(attach));
  if (const auto size = SizeOfTerminal(0); raw && size) {
    body["ConsoleSize"] = {size->rows, size->columns};
  }
  STRATA_TRY_ASSIGN(Client * client, context.client());
  STRATA_TRY_ASSIGN(const Json created,
                    client->Post(ContainerPath(flags.operands()[0]) + "/exec", body));
  const std::string id = TextAt(created, "Id");
  if (flags.On("detach")) {
    STRATA_TRY_ASSIGN(const Json answer, client->Post("/exec/" + id + "/start",
                                                      {{"Detach", true}, {"Tty", attach.tty}}));
    return 0;
  }
  auto status = ExecUntilExit(*client, id, attach);
  if (!status) {
    if (status.error().op() == std::string_view(kUsageError)) return status;
    const int code = ReportStartFailure(status.error());
    return code == kExitUsage ? kExitFailed : code;
  }
  return status;
}

Command CreateCommand() {
  Command command{.name = "create",
                  .operands = "[OPTIONS] IMAGE [COMMAND] [ARG...]",
                  .summary = "Create a container without starting it",
                  .min_operands = 1,
                  .max_operands = kManyOperands,
                  .operand_names = {Names::kImage, Names::kRest},
                  .flags = CreateFlags(),
                  .interspersed = false,
                  .run = RunCreate};
  return command;
}

Command RunCommand() {
  Command command = CreateCommand();
  command.name = "run";
  command.summary = "Create a container and run a program in it";
  command.run = RunRun;
  command.failure_status = kExitUsage;
  command.flags.push_back({"detach", 'd', Kind::kSwitch, "", "leave it running, print its id"});
  command.flags.push_back(kDetachKeys);
  command.flags.push_back({"sig-proxy", 0, Kind::kSwitch, "", "pass signals on (on by default)"});
  return command;
}

}  // namespace

std::vector<Command> RunCommands() {
  const FlagSpec sig_proxy{"sig-proxy", 0, Kind::kSwitch, "", "pass signals on (on by default)"};
  return {
      RunCommand(),
      CreateCommand(),
      {.name = "start",
       .operands = "[OPTIONS] CONTAINER...",
       .summary = "Start stopped containers",
       .min_operands = 1,
       .max_operands = kManyOperands,
       .operand_names = {Names::kContainer},
       .flags = {{"attach", 'a', Kind::kSwitch, "", "stay with it, show its output"},
                 {"interactive", 'i', Kind::kSwitch, "", "the same, and send it input"},
                 kDetachKeys,
                 sig_proxy},
       .run = RunStart},
      {.name = "attach",
       .operands = "[OPTIONS] CONTAINER",
       .summary = "Connect to a running container's input and output",
       .min_operands = 1,
       .max_operands = 1,
       .operand_names = {Names::kRunningContainer},
       .flags = {{"no-stdin", 0, Kind::kSwitch, "", "send no input"}, kDetachKeys, sig_proxy},
       .run = RunAttach},
      {.name = "exec",
       .operands = "[OPTIONS] CONTAINER COMMAND [ARG...]",
       .summary = "Run a program in a running container",
       .min_operands = 2,
       .max_operands = kManyOperands,
       .operand_names = {Names::kRunningContainer, Names::kRest},
       .flags = {{"detach", 'd', Kind::kSwitch, "", "do not wait for it"},
                 {"env", 'e', Kind::kList, "NAME[=VALUE]", "set an environment variable"},
                 {"env-file", 0, Kind::kList, "FILE", "read environment variables from FILE", "",
                  Names::kFile},
                 {"interactive", 'i', Kind::kSwitch, "", "send it input"},
                 {"privileged", 0, Kind::kSwitch, "", "all capabilities"},
                 {"tty", 't', Kind::kSwitch, "", "give it a terminal"},
                 {"user", 'u', Kind::kValue, "USER[:GROUP]", "run as this user"},
                 {"workdir", 'w', Kind::kValue, "DIR", "working directory"},
                 kDetachKeys},
       .interspersed = false,
       .run = RunExec},
  };
}

}  // namespace strata::manager::cli
