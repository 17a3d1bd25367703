#include "manager/cli/flags.h"

#include <algorithm>
#include <charconv>

#include "base/try.h"

namespace strata::manager::cli {
namespace {

using Kind = FlagSpec::Kind;

bool AmongChoices(std::string_view choices, std::string_view value) {
  while (!choices.empty()) {
    const auto bar = choices.find('|');
    if (choices.substr(0, bar) == value) return true;
    choices = bar == std::string_view::npos ? std::string_view() : choices.substr(bar + 1);
  }
  return false;
}

// Walks over the words once and files what it finds.
class Parser {
 public:
  Parser(std::span<const FlagSpec> specs, std::span<const std::string> words)
      : specs_(specs), words_(words) {}

  Result<> Run(bool interspersed) {
    while (next_ < words_.size()) {
      const std::string& word = words_[next_++];
      if (word == "--") break;
      if (word.starts_with("--")) {
        STRATA_TRY(Long(std::string_view(word).substr(2)));
      } else if (word.size() > 1 && word.starts_with('-')) {
        STRATA_TRY(Letters(std::string_view(word).substr(1)));
      } else {
        operands_.push_back(word);
        if (!interspersed) break;
      }
    }
    operands_.insert(operands_.end(), words_.begin() + static_cast<std::ptrdiff_t>(next_),
                     words_.end());
    return {};
  }

  std::map<std::string, std::vector<std::string>, std::less<>> values_;
  std::vector<std::string> operands_;

 private:
  Result<> Long(std::string_view text) {
    const auto equals = text.find('=');
    const std::string_view name = text.substr(0, equals);
    const FlagSpec* spec = FindFlag(specs_, name);
    if (spec == nullptr) return UsageError("unknown option --" + std::string(name));
    if (equals != std::string_view::npos) return Store(*spec, text.substr(equals + 1));
    if (spec->kind == Kind::kSwitch) return Store(*spec, "true");
    return StoreNext(*spec);
  }

  Result<> Letters(std::string_view letters) {
    while (!letters.empty()) {
      const char letter = letters.front();
      letters.remove_prefix(1);
      const FlagSpec* spec = FindFlag(specs_, letter);
      if (spec == nullptr) return UsageError(std::string("unknown option -") + letter);
      if (spec->kind == Kind::kSwitch) {
        if (letters.starts_with('=')) return Store(*spec, letters.substr(1));
        STRATA_TRY(Store(*spec, "true"));
        continue;
      }
      if (letters.empty()) return StoreNext(*spec);
      if (letters.starts_with('=')) letters.remove_prefix(1);
      return Store(*spec, letters);
    }
    return {};
  }

  Result<> StoreNext(const FlagSpec& spec) {
    if (next_ == words_.size()) {
      return UsageError(std::string("option --") + spec.name + " needs a value");
    }
    return Store(spec, words_[next_++]);
  }

  Result<> Store(const FlagSpec& spec, std::string_view value) {
    if (spec.kind == Kind::kSwitch && value != "true" && value != "false") {
      return UsageError(std::string("option --") + spec.name + " is true or false, not '" +
                        std::string(value) + "'");
    }
    if (*spec.choices != '\0' && !AmongChoices(spec.choices, value)) {
      return UsageError(std::string("option --") + spec.name + " is one of " + spec.choices +
                        ", not '" + std::string(value) + "'");
    }
    auto& stored = values_[spec.name];
    if (spec.kind != Kind::kList) stored.clear();
    stored.emplace_back(value);
    return {};
  }

  std::span<const FlagSpec> specs_;
  std::span<const std::string> words_;
  std::size_t next_ = 0;
};

}  // namespace

const FlagSpec* FindFlag(std::span<const FlagSpec> specs, std::string_view name) {
  const auto found =
      std::ranges::find_if(specs, [&](const FlagSpec& spec) { return name == spec.name; });
  return found == specs.end() ? nullptr : &*found;
}

const FlagSpec* FindFlag(std::span<const FlagSpec> specs, char letter) {
  const auto found =
      std::ranges::find_if(specs, [&](const FlagSpec& spec) { return letter == spec.letter; });
  return found == specs.end() ? nullptr : &*found;
}

Result<Flags> Flags::Parse(std::span<const FlagSpec> specs, std::span<const std::string> words,
                           bool interspersed) {
  Parser parser(specs, words);
  STRATA_TRY(parser.Run(interspersed));
  Flags flags;
  flags.values_ = std::move(parser.values_);
  flags.operands_ = std::move(parser.operands_);
  return flags;
}

bool Flags::On(std::string_view name) const { return Value(name) == "true"; }

std::string Flags::Value(std::string_view name, std::string_view otherwise) const {
  const auto found = values_.find(name);
  return found == values_.end() ? std::string(otherwise) : found->second.back();
}

std::optional<std::string> Flags::Optional(std::string_view name) const {
  const auto found = values_.find(name);
  if (found == values_.end()) return std::nullopt;
  return found->second.back();
}

const std::vector<std::string>& Flags::List(std::string_view name) const {
  static const std::vector<std::string> none;
  const auto found = values_.find(name);
  return found == values_.end() ? none : found->second;
}

Result<std::int64_t> ParseNumber(std::string_view flag, std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) {
    return UsageError("option --" + std::string(flag) + ": '" + std::string(text) +
                      "' is no number");
  }
  return value;
}

}  // namespace strata::manager::cli
