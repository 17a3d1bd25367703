// Command line options in the form users of docker know: -d, -it, -e K=V, -eK=V, --name X,
// --name=X,
// --rm=false, and "--" to end them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace strata::manager::cli {

// What a value or an operand names; shell completion asks for it.
enum class Names : std::uint8_t {
  kNothing,
  kImage,
  kContainer,         // any
  kRunningContainer,  // only running ones
  kVolume,
  kFile,
  kDirectory,
  kObject,  // container, image or volume
  kRest,    // a program inside a container and its arguments
};

// The op() of errors that are the user's: shown without it, with a pointer to the help.
inline constexpr const char* kUsageError = "usage";
inline std::unexpected<Error> UsageError(std::string what) {
  return Fail(EINVAL, kUsageError, std::move(what));
}

// One option. Strings are literals.
struct FlagSpec {
  enum class Kind : std::uint8_t {
    kSwitch,  // true or false
    kValue,   // the last one given counts
    kList,    // may be given several times
  };
  const char* name;  // without "--"
  char letter = 0;   // without "-"; 0 if there is none
  Kind kind = Kind::kSwitch;
  const char* value = "";  // what the help calls the value
  const char* help = "";
  const char* choices = "";  // "a|b|c" if nothing else is allowed
  Names names = Names::kNothing;
};

// The options and operands of one command line. Asking for an option the command does not have is a
// bug.
class Flags {
 public:
  // `interspersed`: options may follow operands; else the first operand ends them (run, exec).
  // EINVAL with what is wrong in the detail.
  static Result<Flags> Parse(std::span<const FlagSpec> specs, std::span<const std::string> words,
                             bool interspersed);

  bool Has(std::string_view name) const { return values_.contains(name); }
  bool On(std::string_view name) const;  // a switch's state
  // The value given, else `otherwise`.
  std::string Value(std::string_view name, std::string_view otherwise = "") const;
  std::optional<std::string> Optional(std::string_view name) const;
  const std::vector<std::string>& List(std::string_view name) const;

  const std::vector<std::string>& operands() const { return operands_; }

 private:
  std::map<std::string, std::vector<std::string>, std::less<>> values_;
  std::vector<std::string> operands_;
};

// The option of that name ("--all" without the dashes) or letter; null if there is none.
const FlagSpec* FindFlag(std::span<const FlagSpec> specs, std::string_view name);
const FlagSpec* FindFlag(std::span<const FlagSpec> specs, char letter);

// Numbers as option values. EINVAL naming the option.
Result<std::int64_t> ParseNumber(std::string_view flag, std::string_view text);

}  // namespace strata::manager::cli
