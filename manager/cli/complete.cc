#include "manager/cli/complete.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

namespace strata::manager::cli {
namespace {

using Kind = FlagSpec::Kind;
using Candidates = std::set<std::string>;

void AddContainers(Client& client, bool all, Candidates& out) {
  const auto containers = client.Get(all ? "/containers/json?all=1" : "/containers/json");
  if (!containers) return;
  for (const Json& container : *containers) {
    for (const Json& name : At(container, "Names")) {
      std::string text = Text(name);
      if (text.starts_with('/')) text.erase(0, 1);
      out.insert(std::move(text));
    }
  }
}

void AddImages(Client& client, Candidates& out) {
  const auto images = client.Get("/images/json");
  if (!images) return;
  for (const Json& image : *images) {
    for (const Json& tag : At(image, "RepoTags")) {
      if (std::string text = Text(tag); !text.starts_with("<none>")) out.insert(std::move(text));
    }
  }
}

void AddVolumes(Client& client, Candidates& out) {
  const auto volumes = client.Get("/volumes");
  if (!volumes) return;
  for (const Json& volume : At(*volumes, "Volumes")) out.insert(TextAt(volume, "Name"));
}

// Everything a word of this meaning may be.
void AddNamed(const Context& context, Names names, Candidates& out) {
  if (names == Names::kFile || names == Names::kRest) {
    out.insert(":files");
    return;
  }
  if (names == Names::kDirectory) {
    out.insert(":directories");
    return;
  }
  auto client = context.ClientOfRunningDaemon();
  if (!client || names == Names::kNothing) return;
  const bool any = names == Names::kObject;
  if (any || names == Names::kContainer) AddContainers(*client, true, out);
  if (names == Names::kRunningContainer) AddContainers(*client, false, out);
  if (any || names == Names::kImage) AddImages(*client, out);
  if (any || names == Names::kVolume) AddVolumes(*client, out);
}

void AddFlagNames(std::span<const FlagSpec> flags, Candidates& out) {
  for (const FlagSpec& flag : flags) out.insert(std::string("--") + flag.name);
  out.insert("--help");
}

void AddFlagValues(const Context& context, const FlagSpec& flag, Candidates& out) {
  std::string_view choices = flag.choices;
  while (!choices.empty()) {
    const auto bar = choices.find('|');
    out.insert(std::string(choices.substr(0, bar)));
    choices = bar == std::string_view::npos ? std::string_view() : choices.substr(bar + 1);
  }
  AddNamed(context, flag.names, out);
}

// The option whose value the word after `word` is; null if it is none.
const FlagSpec* WantsValue(std::span<const FlagSpec> flags, std::string_view word) {
  const FlagSpec* flag = nullptr;
  if (word.starts_with("--") && word.find('=') == std::string_view::npos) {
    flag = FindFlag(flags, word.substr(2));
  } else if (word.size() > 1 && word[0] == '-' && word[1] != '-') {
    flag = FindFlag(flags, word.back());  // -it: the last of the letters
  }
  return flag == nullptr || flag->kind == Kind::kSwitch ? nullptr : flag;
}

// First and second words of commands that go on from `words`.
void AddCommandNames(std::span<const std::string> words, Candidates& out) {
  for (const Command& command : AllCommands()) {
    const std::string_view name = command.name;
    const auto space = name.find(' ');
    if (words.size() == 1) {
      out.insert(std::string(name.substr(0, space)));
    } else if (space != std::string_view::npos && name.substr(0, space) == words[0]) {
      out.insert(std::string(name.substr(space + 1)));
    }
  }
}

void AddForCommand(const Context& context, const Command& command,
                   std::span<const std::string> words, Candidates& out) {
  std::size_t operands = 0;
  const FlagSpec* pending = nullptr;
  bool flags_over = false;
  for (const std::string& word : words.first(words.size() - 1)) {
    if (pending != nullptr) {
      pending = nullptr;
    } else if (!flags_over && word == "--") {
      flags_over = true;
    } else if (!flags_over && word.starts_with('-')) {
      pending = WantsValue(command.flags, word);
    } else {
      ++operands;
      flags_over = flags_over || !command.interspersed;
    }
  }
  if (pending != nullptr) return AddFlagValues(context, *pending, out);
  if (!flags_over && words.back().starts_with('-')) return AddFlagNames(command.flags, out);
  if (operands >= command.max_operands || command.operand_names.empty()) return;
  AddNamed(context, command.operand_names[std::min(operands, command.operand_names.size() - 1)],
           out);
}

}  // namespace

std::span<const FlagSpec> GlobalFlags() {
  static constexpr FlagSpec kFlags[] = {
      {"host", 'H', Kind::kValue, "ADDRESS", "the daemon's address"},
      {"help", 'h', Kind::kSwitch, "", "show the help"},
      {"version", 0, Kind::kSwitch, "", "show the client's version"},
  };
  return kFlags;
}

std::vector<std::string> Complete(const Context& context, std::span<const std::string> words) {
  Candidates candidates;
  if (words.empty()) return {};
  const FoundCommand found = FindCommand(words.first(words.size() - 1));
  if (found.command != nullptr) {
    AddForCommand(context, *found.command, words.subspan(found.words), candidates);
  } else if (words.size() == 1 && words[0].starts_with('-')) {
    AddFlagNames(GlobalFlags(), candidates);
  } else if (words.size() <= 2) {
    AddCommandNames(words, candidates);
  }
  std::vector<std::string> matching;
  for (const std::string& candidate : candidates) {
    if (candidate.starts_with(words.back()) || candidate.starts_with(':')) {
      matching.push_back(candidate);
    }
  }
  return matching;
}

}  // namespace strata::manager::cli
