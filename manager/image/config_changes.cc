#include "manager/image/config_changes.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/path.h"
#include "base/try.h"

namespace strata::manager {
namespace {

using layerstore::ImageConfig;
using nlohmann::json;

constexpr std::string_view kSpace = " \t\r\n";

std::string_view Trim(std::string_view text) {
  const auto first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::string Upper(std::string_view text) {
  std::string upper(text);
  std::ranges::transform(upper, upper.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return upper;
}

bool IsNameByte(char c) { return (std::isalnum(static_cast<unsigned char>(c)) != 0) || c == '_'; }

std::unexpected<Error> Refuse(std::string why) { return Fail(EINVAL, "change", std::move(why)); }

// What $NAME stands for; empty for a name there is not.
std::string Lookup(const ImageConfig& config, std::string_view name) {
  for (const std::string& entry : config.env) {
    if (entry.size() > name.size() && entry.starts_with(name) && entry[name.size()] == '=') {
      return entry.substr(name.size() + 1);
    }
  }
  return {};
}

// Words of an instruction, as a shell would take them apart: quotes, backslashes and variables.
class Words {
 public:
  Words(std::string_view text, const ImageConfig& config) : text_(text), config_(config) {}

  Result<std::vector<std::string>> Split() {
    std::vector<std::string> words;
    for (;;) {
      at_ = std::min(text_.find_first_not_of(kSpace, at_), text_.size());
      if (at_ == text_.size()) return words;
      STRATA_TRY_ASSIGN(words.emplace_back(), Word(false));
    }
  }
  // All of it as one.
  Result<std::string> Whole() { return Word(true); }

 private:
  Result<std::string> Word(bool to_the_end) {
    std::string word;
    char quote = 0;
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (quote == 0 && !to_the_end && kSpace.find(c) != std::string_view::npos) return word;
      if (c == quote) {
        quote = 0;
      } else if (quote == 0 && (c == '"' || c == '\'')) {
        quote = c;
      } else if (c == '\\' && quote != '\'' && at_ + 1 < text_.size()) {
        word += text_[++at_];
      } else if (c == '$' && quote != '\'') {
        STRATA_TRY(Variable(word));
      } else {
        word += c;
      }
    }
    if (quote != 0) return Refuse("unexpected end of statement while looking for matching quote");
    return word;
  }

  // At a dollar; leaves at_ on the last byte it took.
  Result<> Variable(std::string& word) {
    if (at_ + 1 < text_.size() && text_[at_ + 1] == '{') return Braces(word);
    std::size_t end = at_ + 1;
    while (end < text_.size() && IsNameByte(text_[end])) ++end;
    if (end == at_ + 1) {
      word += '$';
      return {};
    }
    word += Lookup(config_, text_.substr(at_ + 1, end - at_ - 1));
    at_ = end - 1;
    return {};
  }

  // ${NAME}, ${NAME:-otherwise}, ${NAME:+instead}
  Result<> Braces(std::string& word) {
    const std::size_t close = text_.find('}', at_);
    if (close == std::string_view::npos) return Refuse("syntax error: missing '}'");
    const std::string_view inside = text_.substr(at_ + 2, close - at_ - 2);
    const auto is_other = [](char c) { return !IsNameByte(c); };
    const auto name_end = std::ranges::find_if(inside, is_other);
    const std::string_view name(inside.begin(), name_end);
    const std::string_view rest(name_end, inside.end());
    const std::string value = Lookup(config_, name);
    if (name.empty()) return Refuse("syntax error: no name in ${}");
    if (rest.empty()) {
      word += value;
    } else if (rest.starts_with(":-")) {
      word += value.empty() ? std::string(rest.substr(2)) : value;
    } else if (rest.starts_with(":+")) {
      word += value.empty() ? std::string() : std::string(rest.substr(2));
    } else {
      return Refuse("unsupported modifier in ${" + std::string(inside) + "}");
    }
    at_ = close;
    return {};
  }

  const std::string_view text_;
  const ImageConfig& config_;
  std::size_t at_ = 0;
};

// A list of strings in JSON; nothing if the text is none.
std::optional<std::vector<std::string>> JsonList(std::string_view text) {
  if (!text.starts_with('[')) return std::nullopt;
  const json list = json::parse(text, nullptr, false);
  if (!list.is_array()) return std::nullopt;
  std::vector<std::string> strings;
  for (const json& item : list) {
    if (!item.is_string()) return std::nullopt;
    strings.push_back(item.get<std::string>());
  }
  return strings;
}

using Pairs = std::vector<std::pair<std::string, std::string>>;

// "NAME=VALUE ..." or "NAME VALUE".
Result<Pairs> NamesAndValues(std::string_view text, const ImageConfig& config) {
  STRATA_TRY_ASSIGN(const auto words, Words(text, config).Split());
  if (words.empty()) return Refuse("requires at least one argument");
  Pairs pairs;
  const std::string_view first = text.substr(0, text.find_first_of(kSpace));
  if (first.find('=') == std::string_view::npos) {
    const std::string_view value = Trim(text.substr(first.size()));
    if (value.empty()) return Refuse("must have two arguments");
    STRATA_TRY_ASSIGN(std::string whole, Words(value, config).Whole());
    pairs.emplace_back(first, std::move(whole));
    return pairs;
  }
  for (const std::string& word : words) {
    const auto equals = word.find('=');
    if (equals == std::string::npos) {
      return Refuse("syntax error - can't find = in \"" + word +
                    "\": must be of the form: name=value");
    }
    if (equals == 0) return Refuse("names can not be blank");
    pairs.emplace_back(word.substr(0, equals), word.substr(equals + 1));
  }
  return pairs;
}

std::optional<unsigned> PortNumber(std::string_view text) {
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && port <= 0xFFFF ? std::optional(port) : std::nullopt;
}

void AddOnce(std::vector<std::string>& list, std::string item) {
  if (std::ranges::find(list, item) == list.end()) list.push_back(std::move(item));
}

class Changes {
 public:
  explicit Changes(ImageConfig& config) : config_(config) {}

  Result<> Apply(std::string_view line) {
    const std::string_view word = line.substr(0, line.find_first_of(kSpace));
    const std::string_view rest = Trim(line.substr(word.size()));
    const std::string name = Upper(word);
    const auto* found = std::ranges::find(kInstructions, name, &Instruction::name);
    if (found == std::end(kInstructions)) {
      return Refuse(name + " is not a valid change command");
    }
    auto applied = rest.empty() ? Result<>(Refuse("requires at least one argument"))
                                : (this->*found->apply)(rest);
    if (applied) return {};
    return std::unexpected(std::move(applied).error().WithContext(name));
  }

 private:
  struct Instruction {
    std::string_view name;
    Result<> (Changes::*apply)(std::string_view);
  };
  static const Instruction kInstructions[10];

  // A program: JSON, or a line for the shell.
  std::vector<std::string> Program(std::string_view text) const {
    if (auto list = JsonList(text)) return *std::move(list);
    std::vector<std::string> shell = config_.shell;
    if (shell.empty()) shell = {"/bin/sh", "-c"};
    shell.emplace_back(text);
    return shell;
  }

  Result<> Cmd(std::string_view text) {
    config_.cmd = Program(text);
    has_cmd_ = true;
    return {};
  }
  Result<> Entrypoint(std::string_view text) {
    config_.entrypoint = Program(text);
    // The command was for another program.
    if (!has_cmd_) config_.cmd.clear();
    return {};
  }
  Result<> Env(std::string_view text) {
    STRATA_TRY_ASSIGN(const Pairs pairs, NamesAndValues(text, config_));
    for (const auto& [name, value] : pairs) {
      const std::string start = name + "=";
      const auto same = std::ranges::find_if(
          config_.env, [&](const std::string& entry) { return entry.starts_with(start); });
      if (same != config_.env.end()) {
        *same = start + value;
      } else {
        config_.env.push_back(start + value);
      }
    }
    return {};
  }
  Result<> Label(std::string_view text) {
    STRATA_TRY_ASSIGN(const Pairs pairs, NamesAndValues(text, config_));
    for (const auto& [name, value] : pairs) config_.labels[name] = value;
    return {};
  }
  // "80", "80/udp", "8000-8010".
  Result<> Expose(std::string_view text) {
    STRATA_TRY_ASSIGN(const auto words, Words(text, config_).Split());
    for (const std::string& word : words) {
      const std::string_view all(word);
      const auto slash = all.find('/');
      const std::string_view ports = all.substr(0, slash);
      const std::string protocol(slash == std::string_view::npos ? "tcp" : all.substr(slash + 1));
      const auto dash = ports.find('-');
      const auto first = PortNumber(ports.substr(0, dash));
      const auto last = dash == std::string_view::npos ? first : PortNumber(ports.substr(dash + 1));
      if (!first || !last || *first > *last) return Refuse("invalid containerPort: " + word);
      if (protocol != "tcp" && protocol != "udp" && protocol != "sctp") {
        return Refuse("invalid proto: " + protocol);
      }
      for (unsigned port = *first; port <= *last; ++port) {
        AddOnce(config_.exposed_ports, std::to_string(port) + "/" + protocol);
      }
    }
    return {};
  }
  Result<> OnBuild(std::string_view text) {
    const std::string trigger = Upper(text.substr(0, text.find_first_of(kSpace)));
    for (const char* never : {"ONBUILD", "FROM", "MAINTAINER"}) {
      if (trigger == never) return Refuse(trigger + " isn't allowed as an ONBUILD trigger");
    }
    config_.on_build.emplace_back(text);
    return {};
  }
  Result<> StopSignal(std::string_view text) {
    STRATA_TRY_ASSIGN(config_.stop_signal, One(text));
    return {};
  }
  Result<> User(std::string_view text) {
    STRATA_TRY_ASSIGN(config_.user, One(text));
    return {};
  }
  Result<> Volume(std::string_view text) {
    std::vector<std::string> paths;
    if (auto list = JsonList(text)) {
      paths = *std::move(list);
    } else {
      STRATA_TRY_ASSIGN(paths, Words(text, config_).Split());
    }
    for (std::string& path : paths) {
      if (path.empty()) return Refuse("VOLUME specified can not be an empty string");
      AddOnce(config_.volumes, std::move(path));
    }
    return {};
  }
  Result<> WorkDir(std::string_view text) {
    STRATA_TRY_ASSIGN(const std::string path, Words(text, config_).Whole());
    const std::string base = config_.working_dir.empty() ? "/" : config_.working_dir;
    config_.working_dir = path.starts_with('/') ? path : JoinPath(base, path);
    return {};
  }

  Result<std::string> One(std::string_view text) {
    STRATA_TRY_ASSIGN(auto words, Words(text, config_).Split());
    if (words.size() != 1) return Refuse("requires exactly one argument");
    return std::move(words.front());
  }

  ImageConfig& config_;
  bool has_cmd_ = false;
};

const Changes::Instruction Changes::kInstructions[10] = {
    {"CMD", &Changes::Cmd},
    {"ENTRYPOINT", &Changes::Entrypoint},
    {"ENV", &Changes::Env},
    {"EXPOSE", &Changes::Expose},
    {"LABEL", &Changes::Label},
    {"ONBUILD", &Changes::OnBuild},
    {"STOPSIGNAL", &Changes::StopSignal},
    {"USER", &Changes::User},
    {"VOLUME", &Changes::Volume},
    {"WORKDIR", &Changes::WorkDir},
};

}  // namespace

Result<> ApplyConfigChanges(std::span<const std::string> changes, ImageConfig& config) {
  ImageConfig changed = config;
  Changes all(changed);
  for (const std::string& text : changes) {
    std::string_view rest(text);
    while (!rest.empty()) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(line.size() + 1, rest.size()));
      const std::string_view instruction = Trim(line);
      if (instruction.empty() || instruction.starts_with('#')) continue;
      STRATA_TRY(all.Apply(instruction));
    }
  }
  config = std::move(changed);
  return {};
}

}  // namespace strata::manager
