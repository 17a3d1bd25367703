#include "manager/runtime/oci_runtime.h"

#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <string_view>

#include "base/path.h"
#include "base/try.h"
#include "manager/runtime/command.h"

namespace strata::manager {
namespace {

using nlohmann::json;

// The value of msg="…" with its escapes undone, "" if the line has none.
std::string LogfmtMessage(std::string_view line) {
  constexpr std::string_view kKey = "msg=\"";
  const std::size_t start = line.find(kKey);
  if (start == std::string_view::npos) return {};
  std::string text;
  for (std::size_t i = start + kKey.size(); i < line.size() && line[i] != '"'; ++i) {
    if (line[i] == '\\' && i + 1 < line.size()) {
      ++i;
      text.push_back(line[i] == 'n' ? ' ' : line[i]);
    } else {
      text.push_back(line[i]);
    }
  }
  return text;
}

std::string MessageOfLine(std::string_view line) {
  if (line.starts_with('{')) {
    const json parsed = json::parse(line, nullptr, false);
    if (parsed.is_object() && parsed.contains("msg") && parsed["msg"].is_string()) {
      return parsed["msg"].get<std::string>();
    }
  }
  if (std::string text = LogfmtMessage(line); !text.empty()) return text;
  return std::string(line);
}

bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// "runc version 1.1.5+ds1\ncommit: …" and "crun version 1.8.1\ncommit: …".
std::string WordAfter(std::string_view text, std::string_view key) {
  const std::size_t start = text.find(key);
  if (start == std::string_view::npos) return {};
  std::string_view rest = text.substr(start + key.size());
  const std::size_t end = rest.find_first_of(" \n\r");
  return std::string(rest.substr(0, end));
}

}  // namespace

RuntimeFailure ParseRuntimeFailure(std::string_view output) {
  RuntimeFailure failure;
  // The last line that says something is the cause; the ones before it are warnings.
  while (!output.empty()) {
    const std::size_t end = output.rfind('\n');
    const std::string_view line = end == std::string_view::npos ? output : output.substr(end + 1);
    output = end == std::string_view::npos ? std::string_view() : output.substr(0, end);
    if (line.find_first_not_of(" \r\t") == std::string_view::npos) continue;
    failure.message = MessageOfLine(line);
    break;
  }
  const std::string_view text = failure.message;
  if (Contains(text, "executable file not found") || Contains(text, "no such file or directory") ||
      Contains(text, "No such file or directory")) {
    failure.kind = RuntimeFailure::Kind::kNotFound;
  } else if (Contains(text, "permission denied") || Contains(text, "Permission denied") ||
             Contains(text, "is a directory") || Contains(text, "Is a directory") ||
             Contains(text, "exec format error")) {
    failure.kind = RuntimeFailure::Kind::kNotExecutable;
  }
  return failure;
}

Result<std::unique_ptr<OciRuntime>> OciRuntime::Probe(const Options& options) {
  std::vector<std::string> candidates{"runc", "crun", "youki"};
  if (!options.program.empty()) candidates = {options.program};
  if (::mkdir(options.state_root.c_str(), 0700) == -1 && errno != EEXIST) {
    return FailErrno("mkdir", options.state_root);
  }
  std::string reasons;
  for (const auto& candidate : candidates) {
    std::unique_ptr<OciRuntime> runtime(new OciRuntime());
    runtime->state_root_ = options.state_root;
    if (Contains(candidate, "/")) {
      runtime->path_ = candidate;
    } else if (auto path = FindProgram(candidate)) {
      runtime->path_ = std::move(*path);
    } else {
      reasons += (reasons.empty() ? "" : "; ") + candidate + ": not installed";
      continue;
    }
    auto version = runtime->Run({"--version"});
    auto listed = version ? runtime->Run({"list", "-q"}) : Result<std::string>(std::string());
    if (!version || !listed) {
      reasons += (reasons.empty() ? "" : "; ") + candidate + ": " +
                 (version ? listed.error() : version.error()).ToString();
      continue;
    }
    runtime->name_ = BaseName(runtime->path_);
    runtime->version_ = WordAfter(*version, "version ");
    runtime->commit_ = WordAfter(*version, "commit: ");
    return runtime;
  }
  return Fail(ENOENT, "probe runtime", "no usable OCI runtime (" + reasons + ")");
}

Result<std::string> OciRuntime::Run(std::vector<std::string> arguments) {
  std::vector<std::string> argv{path_, "--root", state_root_};
  argv.insert(argv.end(), std::make_move_iterator(arguments.begin()),
              std::make_move_iterator(arguments.end()));
  STRATA_TRY_ASSIGN(CommandResult result, RunCommand(argv));
  if (result.ok()) return std::move(result.out);
  std::string message = ParseRuntimeFailure(result.err).message;
  int code = EIO;
  if (Contains(message, "does not exist")) code = ENOENT;
  if (Contains(message, "process already finished") || Contains(message, "not running") ||
      Contains(message, "no such process")) {
    code = ESRCH;
  }
  if (message.empty()) message = name_ + " exited with code " + std::to_string(result.exit_code);
  return Fail(code, "oci runtime", std::move(message));
}

Result<> OciRuntime::Start(const std::string& id) {
  STRATA_TRY(Run({"start", id}));
  return {};
}

Result<> OciRuntime::Kill(const std::string& id, int signal, bool all) {
  std::vector<std::string> arguments{"kill"};
  if (all) arguments.emplace_back("--all");
  arguments.push_back(id);
  arguments.push_back(std::to_string(signal));
  STRATA_TRY(Run(std::move(arguments)));
  return {};
}

Result<> OciRuntime::Pause(const std::string& id) {
  STRATA_TRY(Run({"pause", id}));
  return {};
}

Result<> OciRuntime::Resume(const std::string& id) {
  STRATA_TRY(Run({"resume", id}));
  return {};
}

Result<> OciRuntime::Delete(const std::string& id) {
  auto result = Run({"delete", "--force", id});
  if (!result && result.error().code() != ENOENT) {
    return std::unexpected(std::move(result).error());
  }
  return {};
}

Result<RuntimeState> OciRuntime::State(const std::string& id) {
  STRATA_TRY_ASSIGN(const std::string text, Run({"state", id}));
  const json parsed = json::parse(text, nullptr, false);
  if (!parsed.is_object()) return Fail(EIO, "oci runtime", "state of " + id + " is not JSON");
  RuntimeState state;
  if (const auto it = parsed.find("status"); it != parsed.end() && it->is_string()) {
    state.status = it->get<std::string>();
  }
  if (const auto it = parsed.find("pid"); it != parsed.end() && it->is_number_integer()) {
    state.pid = it->get<pid_t>();
  }
  return state;
}

Result<std::vector<pid_t>> OciRuntime::Processes(const std::string& id) {
  STRATA_TRY_ASSIGN(const std::string text, Run({"ps", "--format", "json", id}));
  const json parsed = json::parse(text, nullptr, false);
  if (!parsed.is_array()) return Fail(EIO, "oci runtime", "process list of " + id + " is not JSON");
  std::vector<pid_t> pids;
  for (const auto& pid : parsed) {
    if (pid.is_number_integer()) pids.push_back(pid.get<pid_t>());
  }
  return pids;
}

}  // namespace strata::manager
