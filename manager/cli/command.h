// What a command is: one row of a table that parsing, help, completion and the manual's test all
// read.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "manager/cli/client.h"
#include "manager/cli/flags.h"

namespace strata::manager::cli {

// Exit statuses that scripts know from docker.
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 125;         // also: the daemon failed, for run and exec
inline constexpr int kExitCannotInvoke = 126;  // the program is there but cannot be run
inline constexpr int kExitNotFound = 127;      // no such program in the container

// What commands run with. One per process.
class Context {
 public:
  // `host` is the -H option's or STRATA_HOST's value; empty for this user's own daemon.
  explicit Context(std::string host) : host_(std::move(host)) {}

  // EINVAL for a host that does not parse. Starts nothing yet.
  Result<Client*> client();
  // The same, but never starts a daemon: for completion.
  Result<Client> ClientOfRunningDaemon() const;
  // Whether -H or STRATA_HOST names another daemon than this user's own.
  bool has_host() const { return !host_.empty(); }

 private:
  std::string host_;
  std::optional<Client> client_;
};

struct Command {
  const char* name;      // "image import"
  const char* operands;  // as the usage line shows them
  const char* summary;
  std::size_t min_operands = 0;
  std::size_t max_operands = 0;
  std::vector<Names> operand_names =
      {};  // what each operand names; the last counts for all that follow
  std::vector<FlagSpec> flags = {};
  bool interspersed = true;
  // The process's exit status, or an error to report.
  std::function<Result<int>(Context&, const Flags&)> run = {};
  int failure_status = kExitFailed;  // for that error
};

inline constexpr std::size_t kManyOperands = static_cast<std::size_t>(-1);

// Every command, in the order the help shows them.
const std::vector<Command>& AllCommands();
// The rows of one part each; AllCommands() puts them together.
std::vector<Command> ImageCommands();
std::vector<Command> TransferCommands();
std::vector<Command> SaveCommands();
std::vector<Command> RunCommands();
std::vector<Command> ContainerCommands();
std::vector<Command> ChangesCommands();
std::vector<Command> VolumeCommands();
std::vector<Command> MountCommands();
std::vector<Command> StoreCommands();
std::vector<Command> SystemCommands();

// A row of ImageCommands() that is a file of its own.
Command ExploreCommand();

// The command that the first words name, and how many words that took; null if none.
struct FoundCommand {
  const Command* command = nullptr;
  std::size_t words = 0;
};
FoundCommand FindCommand(std::span<const std::string> words);

// Help texts, with a final newline.
std::string OverviewHelp();
std::string GroupHelp(std::string_view group);  // "" if there is no such group of commands
std::string CommandHelp(const Command& command);

// Writes to standard output; failures show at the end of the program (main.cc).
void Print(std::string_view text);
// "strata: " + text on standard error.
void Complain(std::string_view text);

// Does `each` for every operand and goes on after a failure, which is reported; the exit status.
int ForEachOperand(const std::vector<std::string>& operands,
                   const std::function<Result<>(const std::string&)>& each);

}  // namespace strata::manager::cli
