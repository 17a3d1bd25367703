// stratafs: mounts a stack of directories as one tree. See docs/man/stratafs.8.md.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <span>
#include <string>

#include "base/logging.h"
#include "base/try.h"
#include "fusefs/daemon/background.h"
#include "fusefs/daemon/options.h"
#include "fusefs/daemon/serve.h"

namespace strata::fusefs {
namespace {

Result<> ConfigureLog(const Options& options) {
  STRATA_TRY_ASSIGN(const log::Level from_environment, log::LevelFromEnvironment());
  STRATA_TRY_ASSIGN(const log::Format format, log::FormatFromEnvironment());
  log::Configure("stratafs", options.log_level.value_or(from_environment),
                 options.log_format.value_or(format));
  if (options.log_file.empty()) return {};
  const UniqueFd file(::open(options.log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
                             S_IRUSR | S_IWUSR));
  if (!file || ::dup2(file.get(), STDERR_FILENO) < 0) {
    return FailErrno("log file", options.log_file);
  }
  return {};
}

// What the user reads: the detail names the culprit, the rest is there where it does not.
std::string MessageOf(const Error& error) {
  return error.op()[0] == '\0' && !error.detail().empty() ? std::string(error.detail())
                                                          : error.ToString();
}

Result<int> Run(std::span<const char* const> arguments) {
  STRATA_TRY_ASSIGN(Options options, ParseOptions(arguments));
  if (options.help) {
    std::fputs(HelpText().c_str(), stdout);
    return 0;
  }
  if (options.version) {
    std::puts("stratafs " STRATA_VERSION);
    return 0;
  }
  if (options.finalize) {
    STRATA_TRY(ConfigureLog(options));
    STRATA_TRY(Finalize(options));
    return 0;
  }
  StartReport report;
  if (!options.foreground) {
    STRATA_TRY_ASSIGN(Forked forked, Fork());
    if (forked.exit_code) return *forked.exit_code;
    report = std::move(forked.report);
  }
  auto served = ConfigureLog(options);
  if (served) served = Serve(std::move(options), report);
  if (served) return 0;
  report.Failed(MessageOf(served.error()));
  return 1;
}

}  // namespace
}  // namespace strata::fusefs

int main(int argc, char** argv) {
  try {
    if (auto occupied = strata::fusefs::OccupyStandardDescriptors(); !occupied) return 1;
    const auto code =
        strata::fusefs::Run(std::span(argv + 1, static_cast<std::size_t>(argc > 0 ? argc - 1 : 0)));
    if (code) return *code;
    strata::fusefs::PrintError(strata::fusefs::MessageOf(code.error()));
  } catch (const std::exception& exception) {
    strata::fusefs::PrintError(exception.what());
  }
  return 1;
}
