#include "manager/cli/command.h"

#include <algorithm>
#include <cstdio>

#include "base/try.h"

namespace strata::manager::cli {
namespace {

struct Part {
  const char* title;
  std::vector<Command> (*commands)();
};

constexpr Part kParts[] = {
    {"Running programs in containers", RunCommands},
    {"Containers", ContainerCommands},
    {"What containers changed", ChangesCommands},
    {"Getting and giving images", TransferCommands},
    {"Images as files", SaveCommands},
    {"Images", ImageCommands},
    {"Files of an image without a container", MountCommands},
    {"Volumes", VolumeCommands},
    {"The layer store", StoreCommands},
    {"The daemon", SystemCommands},
};

constexpr const char* kGlobalHelp =
    "Options:\n"
    "  -H, --host ADDRESS   the daemon: unix:///PATH or tcp://HOST:PORT (also STRATA_HOST);\n"
    "                       without it your own daemon, started when needed\n"
    "      --help           show this, or a command's help\n"
    "      --version        show the client's version\n";

// "-e, --env NAME[=VALUE]"
std::string FlagHead(const FlagSpec& flag) {
  std::string head = flag.letter == 0 ? "    " : std::string("-") + flag.letter + ", ";
  head += std::string("--") + flag.name;
  if (*flag.value != '\0') head += std::string(" ") + flag.value;
  return head;
}

void AppendAligned(const std::vector<std::pair<std::string, std::string>>& lines,
                   std::string& out) {
  std::size_t width = 0;
  for (const auto& [head, text] : lines) width = std::max(width, head.size());
  for (const auto& [head, text] : lines) {
    out += "  " + head + std::string(width - head.size() + 3, ' ') + text + "\n";
  }
}

std::string_view GroupOf(std::string_view name) {
  const auto space = name.find(' ');
  return space == std::string_view::npos ? std::string_view() : name.substr(0, space);
}

}  // namespace

Result<Client*> Context::client() {
  if (!client_) {
    if (host_.empty()) {
      STRATA_TRY_ASSIGN(DaemonLaunch launch, DefaultDaemon());
      client_.emplace(std::move(launch));
    } else {
      STRATA_TRY_ASSIGN(Endpoint endpoint, Endpoint::Parse(host_));
      client_.emplace(std::move(endpoint));
    }
  }
  return &*client_;
}

Result<Client> Context::ClientOfRunningDaemon() const {
  if (!host_.empty()) {
    STRATA_TRY_ASSIGN(Endpoint endpoint, Endpoint::Parse(host_));
    return Client(std::move(endpoint));
  }
  STRATA_TRY_ASSIGN(DaemonLaunch launch, DefaultDaemon());
  return Client(std::move(launch.endpoint));
}

const std::vector<Command>& AllCommands() {
  static const std::vector<Command> commands = [] {
    std::vector<Command> all;
    for (const Part& part : kParts) {
      std::vector<Command> some = part.commands();
      std::ranges::move(some, std::back_inserter(all));
    }
    return all;
  }();
  return commands;
}

FoundCommand FindCommand(std::span<const std::string> words) {
  if (words.empty()) return {};
  FoundCommand found;
  for (const Command& command : AllCommands()) {
    const std::string_view name = command.name;
    if (name == words[0]) found = {&command, 1};
    if (words.size() > 1 && name == words[0] + " " + words[1]) return {&command, 2};
  }
  return found;
}

std::string OverviewHelp() {
  std::string out =
      "Usage: strata [OPTIONS] COMMAND [ARG...]\n\n"
      "Containers on copy-on-write layers.\n";
  for (const Part& part : kParts) {
    std::vector<std::pair<std::string, std::string>> lines;
    for (const Command& command : part.commands()) {
      // "image pull" is "pull" again; the help of `strata image` shows it.
      const std::string_view name = command.name;
      const std::string last(name.substr(name.rfind(' ') + 1));
      const bool again = GroupOf(name) == "image" &&
                         FindCommand(std::vector{last}).command != nullptr && last != "inspect";
      if (again || name == "image ls" || name == "image rm") continue;
      lines.emplace_back(command.name, command.summary);
    }
    out += std::string("\n") + part.title + ":\n";
    AppendAligned(lines, out);
  }
  return out + "\n" + kGlobalHelp + "\n'strata COMMAND --help' says more about one of them.\n";
}

std::string GroupHelp(std::string_view group) {
  std::vector<std::pair<std::string, std::string>> lines;
  for (const Command& command : AllCommands()) {
    if (GroupOf(command.name) == group) lines.emplace_back(command.name, command.summary);
  }
  if (lines.empty()) return "";
  std::string out = "Usage: strata " + std::string(group) + " COMMAND [ARG...]\n\n";
  AppendAligned(lines, out);
  return out;
}

std::string CommandHelp(const Command& command) {
  std::string out = std::string("Usage: strata ") + command.name + " " + command.operands + "\n\n" +
                    command.summary + "\n";
  std::vector<std::pair<std::string, std::string>> lines;
  for (const FlagSpec& flag : command.flags) {
    std::string text = flag.help;
    if (*flag.choices != '\0') {
      std::string choices = flag.choices;
      std::ranges::replace(choices, '|', ' ');
      text += " (" + choices + ")";
    }
    lines.emplace_back(FlagHead(flag), std::move(text));
  }
  if (lines.empty()) return out;
  out += "\nOptions:\n";
  AppendAligned(lines, out);
  return out;
}

void Print(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

void Complain(std::string_view text) {
  std::fflush(stdout);  // keeps the order when both go to one file
  const std::string line = "strata: " + std::string(text) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
}

int ForEachOperand(const std::vector<std::string>& operands,
                   const std::function<Result<>(const std::string&)>& each) {
  int status = 0;
  for (const auto& operand : operands) {
    if (auto done = each(operand); !done) {
      Complain(Explain(done.error()));
      status = kExitFailed;
    }
  }
  return status;
}

}  // namespace strata::manager::cli
