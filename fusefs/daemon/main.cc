// stratafs: mounts a stack of directories as one tree. See docs/man/stratafs.8.md.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <functional>
#include <span>
#include <string>
#include <utility>

#include "base/logging.h"
#include "base/try.h"
#include "fusefs/daemon/background.h"
#include "fusefs/daemon/mount_check.h"
#include "fusefs/daemon/options.h"
#include "fusefs/daemon/serve.h"

namespace strata::fusefs {
namespace {

// As mount(8) numbers them.
constexpr int kFailed = 1;
constexpr int kMountFailed = 32;

// What the log file took the place of; no descriptor without one.
Result<UniqueFd> ConfigureLog(const Options& options) {
  STRATA_TRY_ASSIGN(const log::Level from_environment, log::LevelFromEnvironment());
  STRATA_TRY_ASSIGN(const log::Format format, log::FormatFromEnvironment());
  log::Configure("stratafs", options.log_level.value_or(from_environment),
                 options.log_format.value_or(format));
  if (options.log_file.empty()) return UniqueFd();
  const UniqueFd file(::open(options.log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
                             S_IRUSR | S_IWUSR));
  UniqueFd before(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  if (!file || !before || ::dup2(file.get(), STDERR_FILENO) < 0) {
    return FailErrno("log file", options.log_file);
  }
  return before;
}

// What the user reads: the detail names the culprit, the rest is there where it does not.
std::string MessageOf(const Error& error) {
  return error.op()[0] == '\0' && !error.detail().empty() ? std::string(error.detail())
                                                          : error.ToString();
}

// Runs `task` with the log set up, and reports its error to the user and to the log file.
int RunLogged(const Options& options, StartReport& report, const std::function<Result<>()>& task) {
  auto configured = ConfigureLog(options);
  UniqueFd user = configured ? std::move(*configured) : UniqueFd();
  const bool to_file = static_cast<bool>(user);
  // In the background the waiting process has the user's; a copy here would keep a pipe open.
  if (report.in_background()) user.reset();
  const auto done = configured ? task() : std::unexpected(std::move(configured.error()));
  if (done) return 0;
  const std::string message = MessageOf(done.error());
  if (to_file) log::Error(message);
  report.Failed(message, user ? user.get() : STDERR_FILENO);
  return kFailed;
}

Result<int> MountAndServe(const Options& options) {
  StartReport report;
  if (!options.foreground) {
    STRATA_TRY_ASSIGN(Forked forked, Fork());
    if (forked.exit_code) return *forked.exit_code;
    report = std::move(forked.report);
  }
  return RunLogged(options, report, [&] { return Serve(options, report); });
}

// Everything but the mount itself.
Result<int> Check(const Options& options) {
  STRATA_TRY(CheckMountpoint(options.mount.mountpoint, options.engine));
  return 0;
}

Result<int> MountOrCheck(Options& options) {
  if (!options.mount_namespace.empty()) {
    // There the working directory is the root.
    STRATA_TRY(MakePathsAbsolute(options));
    STRATA_TRY(EnterMountNamespace(options.mount_namespace));
  }
  return options.fake ? Check(options) : MountAndServe(options);
}

Result<int> Run(Invocation invocation, std::span<const char* const> arguments) {
  STRATA_TRY_ASSIGN(Options options, ParseOptions(arguments, invocation));
  if (options.help) {
    std::fputs(HelpText().c_str(), stdout);
    return 0;
  }
  if (options.version) {
    std::puts("stratafs " STRATA_VERSION);
    return 0;
  }
  if (options.finalize) {
    StartReport report;
    return RunLogged(options, report, [&]() -> Result<> {
      STRATA_TRY_ASSIGN(const std::string done, Finalize(options));
      std::puts(done.c_str());
      return {};
    });
  }
  auto code = MountOrCheck(options);
  if (!code) PrintError(MessageOf(code.error()));
  const int failed = invocation == Invocation::kMountHelper ? kMountFailed : kFailed;
  return code && *code == 0 ? 0 : failed;
}

}  // namespace
}  // namespace strata::fusefs

int main(int argc, char** argv) {
  try {
    if (auto occupied = strata::fusefs::OccupyStandardDescriptors(); !occupied) return 1;
    const auto code =
        strata::fusefs::Run(strata::fusefs::InvocationOf(argc > 0 ? argv[0] : ""),
                            std::span(argv + 1, static_cast<std::size_t>(argc > 0 ? argc - 1 : 0)));
    if (code) return *code;
    strata::fusefs::PrintError(strata::fusefs::MessageOf(code.error()));
  } catch (const std::exception& exception) {
    strata::fusefs::PrintError(exception.what());
  }
  return 1;
}
