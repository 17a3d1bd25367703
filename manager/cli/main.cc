// strata: the command line client.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/logging.h"
#include "base/try.h"
#include "manager/cli/command.h"
#include "manager/cli/complete.h"

namespace {

using namespace std::string_literals;
using strata::Result;
namespace cli = strata::manager::cli;

std::string HostFrom(const cli::Flags& globals) {
  const char* environment = std::getenv("STRATA_HOST");
  return globals.Value("host", environment == nullptr ? "" : environment);
}

// The status for an error, which is shown.
int Report(const strata::Error& error, const cli::Command* command) {
  cli::Complain(cli::Explain(error));
  const bool usage = error.op() == std::string_view(cli::kUsageError);
  if (usage) {
    const std::string name = command == nullptr ? "" : std::string(" ") + command->name;
    cli::Complain("see 'strata" + name + " --help'");
    return cli::kExitUsage;
  }
  return command == nullptr ? cli::kExitFailed : command->failure_status;
}

Result<> CheckOperands(const cli::Command& command, std::size_t count) {
  if (count >= command.min_operands && count <= command.max_operands) return {};
  return cli::UsageError("usage: strata "s + command.name + " " + command.operands);
}

int RunCommand(cli::Context& context, const cli::Command& command,
               std::span<const std::string> words) {
  std::vector<cli::FlagSpec> specs = command.flags;
  specs.push_back({"help"});
  const auto run = [&]() -> Result<int> {
    STRATA_TRY_ASSIGN(const cli::Flags flags,
                      cli::Flags::Parse(specs, words, command.interspersed));
    if (flags.On("help")) {
      cli::Print(cli::CommandHelp(command));
      return 0;
    }
    STRATA_TRY(CheckOperands(command, flags.operands().size()));
    return command.run(context, flags);
  };
  const auto status = run();
  return status ? *status : Report(status.error(), &command);
}

int RunWords(cli::Context& context, std::span<const std::string> words) {
  if (words.empty() || (words.size() == 1 && words[0] == "help")) {
    cli::Print(cli::OverviewHelp());
    return 0;
  }
  if (words[0] == "__complete") {
    for (const auto& candidate : cli::Complete(context, words.subspan(1))) {
      cli::Print(candidate + "\n");
    }
    return 0;
  }
  const bool help = words[0] == "help";
  if (help) words = words.subspan(1);
  const cli::FoundCommand found = cli::FindCommand(words);
  if (found.command != nullptr) {
    if (!help) return RunCommand(context, *found.command, words.subspan(found.words));
    cli::Print(cli::CommandHelp(*found.command));
    return 0;
  }
  const std::string group = cli::GroupHelp(words[0]);
  if (!group.empty() && (words.size() == 1 || words[1] == "--help")) {
    cli::Print(group);
    return 0;
  }
  std::string unknown = words[0];
  if (!group.empty()) unknown += " " + words[1];
  cli::Complain("'" + unknown + "' is not a strata command; 'strata --help' lists them");
  return cli::kExitFailed;  // as docker's client; 125 is for the words of a command that there is
}

int Main(std::span<const std::string> words) {
  const auto level = strata::log::LevelFromEnvironment();
  const auto format = strata::log::FormatFromEnvironment();
  if (!level) return Report(level.error(), nullptr);
  if (!format) return Report(format.error(), nullptr);
  strata::log::Configure("strata", *level, *format);

  const auto globals = cli::Flags::Parse(cli::GlobalFlags(), words, /*interspersed=*/false);
  if (!globals) return Report(globals.error(), nullptr);
  if (globals->On("version")) {
    cli::Print("strata " STRATA_VERSION "\n");
    return 0;
  }
  cli::Context context(HostFrom(*globals));
  if (globals->On("help")) return RunWords(context, {});
  return RunWords(context, globals->operands());
}

}  // namespace

int main(int argc, char** argv) {
  const int status = Main(std::vector<std::string>(argv + 1, argv + argc));
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    cli::Complain(strata::Error::FromErrno("write to standard output").ToString());
    return status == 0 ? cli::kExitFailed : status;
  }
  return status;
}
