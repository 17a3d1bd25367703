#include "fusefs/daemon/options.h"

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/path.h"
#include "base/try.h"
#include "fusefs/daemon/mount_options.h"
#include "fusefs/daemon/option_values.h"

namespace strata::fusefs {
namespace {

struct CommandOption {
  std::string_view short_name;  // "" if there is none
  std::string_view long_name;
  Takes takes;
  Result<> (*apply)(Options&, std::string_view value);
};

constexpr CommandOption kCommandOptions[] = {
    {"-o", "--options", Takes::kValue, ApplyMountOptions},
    {"", "--lower", Takes::kValue,
     [](Options& options, std::string_view value) -> Result<> {
       options.engine.lower.emplace_back(value);
       return {};
     }},
    {"-f", "--foreground", Takes::kNothing,
     [](Options& options, std::string_view) -> Result<> {
       options.foreground = true;
       return {};
     }},
    {"-d", "--debug", Takes::kNothing,
     [](Options& options, std::string_view) -> Result<> {
       options.foreground = true;
       options.log_level = log::Level::kTrace;
       return {};
     }},
    {"-s", "--single-threaded", Takes::kNothing,
     [](Options& options, std::string_view) -> Result<> {
       options.transport.threads = 1;
       return {};
     }},
    {"", "--log-level", Takes::kValue,
     [](Options& options, std::string_view value) -> Result<> {
       STRATA_TRY_ASSIGN(options.log_level, log::ParseLevel(value));
       return {};
     }},
    {"", "--log-format", Takes::kValue,
     [](Options& options, std::string_view value) -> Result<> {
       STRATA_TRY_ASSIGN(options.log_format, log::ParseFormat(value));
       return {};
     }},
    {"", "--log-file", Takes::kValue,
     [](Options& options, std::string_view value) -> Result<> {
       options.log_file = value;
       return {};
     }},
    {"", "--finalize", Takes::kNothing,
     [](Options& options, std::string_view) -> Result<> {
       options.finalize = true;
       return {};
     }},
    {"-h", "--help", Takes::kNothing,
     [](Options& options, std::string_view) -> Result<> {
       options.help = true;
       return {};
     }},
    {"-V", "--version", Takes::kNothing,
     [](Options& options, std::string_view) -> Result<> {
       options.version = true;
       return {};
     }},
};

// What mount(8) calls its helpers with, where some letters mean something else than for people.
constexpr CommandOption kHelperOptions[] = {
    {"-s", "", Takes::kNothing,
     [](Options& options, std::string_view) -> Result<> {
       options.sloppy = true;
       return {};
     }},
    {"-f", "", Takes::kNothing,
     [](Options& options, std::string_view) -> Result<> {
       options.fake = true;
       return {};
     }},
    {"-n", "", Takes::kNothing, [](Options&, std::string_view) -> Result<> { return {}; }},
    {"-v", "", Takes::kNothing,
     [](Options& options, std::string_view) -> Result<> {
       if (!options.log_level) options.log_level = log::Level::kInfo;
       return {};
     }},
    {"-N", "", Takes::kValue,
     [](Options& options, std::string_view value) -> Result<> {
       options.mount_namespace = value;
       return {};
     }},
    {"-t", "", Takes::kValue, [](Options&, std::string_view) -> Result<> { return {}; }},
};

class CommandLine {
 public:
  CommandLine(std::span<const char* const> arguments, Invocation invocation)
      : rest_(arguments), invocation_(invocation) {}

  Result<> Parse(Options& options, std::vector<std::string_view>& positional) {
    bool only_positional = false;
    while (!rest_.empty()) {
      const std::string_view argument = Next();
      if (only_positional || argument.size() < 2 || argument[0] != '-') {
        positional.push_back(argument);
      } else if (argument == "--") {
        only_positional = true;
      } else {
        STRATA_TRY(ApplyOne(options, argument));
      }
    }
    return {};
  }

 private:
  std::string_view Next() {
    const std::string_view argument = rest_.front();
    rest_ = rest_.subspan(1);
    return argument;
  }

  Result<> ApplyOne(Options& options, std::string_view argument) {
    return argument.starts_with("--") ? ApplyLong(options, argument)
                                      : ApplyShort(options, argument);
  }

  // "--name", "--name VALUE" or "--name=VALUE".
  Result<> ApplyLong(Options& options, std::string_view argument) {
    const std::size_t equals = argument.find('=');
    const std::string_view name = argument.substr(0, equals);
    const auto* option = std::ranges::find(kCommandOptions, name, &CommandOption::long_name);
    if (option == std::end(kCommandOptions)) {
      return Complain("unknown option '" + std::string(argument) + "' (try --help)");
    }
    const bool attached = equals != std::string_view::npos;
    if (option->takes == Takes::kNothing) {
      if (attached) return Complain("option '" + std::string(argument) + "' takes no value");
      return option->apply(options, {});
    }
    return ApplyValue(options, *option, name, attached,
                      attached ? argument.substr(equals + 1) : "");
  }

  // "-x", "-xyz" for -x -y -z; with a value "-x VALUE" or "-xVALUE".
  Result<> ApplyShort(Options& options, std::string_view argument) {
    for (std::size_t i = 1; i < argument.size(); ++i) {
      const std::string name = {'-', argument[i]};
      const CommandOption* option = FindShort(name);
      if (option == nullptr) return Complain("unknown option '" + name + "' (try --help)");
      if (option->takes != Takes::kNothing) {
        const std::string_view attached = argument.substr(i + 1);
        return ApplyValue(options, *option, name, !attached.empty(), attached);
      }
      STRATA_TRY(option->apply(options, {}));
    }
    return {};
  }

  const CommandOption* FindShort(std::string_view name) const {
    if (invocation_ == Invocation::kMountHelper) {
      const auto* option = std::ranges::find(kHelperOptions, name, &CommandOption::short_name);
      if (option != std::end(kHelperOptions)) return option;
    }
    const auto* option = std::ranges::find(kCommandOptions, name, &CommandOption::short_name);
    return option != std::end(kCommandOptions) ? option : nullptr;
  }

  Result<> ApplyValue(Options& options, const CommandOption& option, std::string_view name,
                      bool attached, std::string_view value) {
    if (attached) return option.apply(options, value);
    if (rest_.empty()) return Complain("option '" + std::string(name) + "' needs a value");
    return option.apply(options, Next());
  }

  std::span<const char* const> rest_;
  const Invocation invocation_;
};

Result<> CheckTogether(const Options& options) {
  const EngineOptions& engine = options.engine;
  if (engine.lower.empty() && engine.chain.empty() && engine.upper.empty()) {
    return Complain("no layer given: use -o lowerdir=DIR[:DIR...] (try --help)");
  }
  if (!engine.upper.empty() && engine.work.empty()) {
    return Complain("option 'upperdir' needs 'workdir', an empty directory on the same filesystem");
  }
  if (engine.upper.empty() && !engine.work.empty()) {
    return Complain("option 'workdir' is of no use without 'upperdir'");
  }
  if (!engine.opens && engine.copy_up != CopyUpPolicy::kWrite) {
    return Complain("option 'copyup': 'open' and 'read' need to know of opens ('opens=on')");
  }
  if (!engine.opens && options.locks.value_or(false)) {
    return Complain("option 'locks': 'on' needs to know when files are closed ('opens=on')");
  }
  return {};
}

}  // namespace

Invocation InvocationOf(std::string_view program) {
  return BaseName(program).starts_with("mount.") ? Invocation::kMountHelper : Invocation::kDirect;
}

Result<Options> ParseOptions(std::span<const char* const> arguments, Invocation invocation) {
  Options options;
  std::vector<std::string_view> positional;
  STRATA_TRY(CommandLine(arguments, invocation).Parse(options, positional));
  if (options.help || options.version) return options;
  if (!options.unknown.empty() && !options.sloppy) {
    return Complain("unknown option '" + options.unknown.front() + "'");
  }
  if (options.finalize) {
    if (!positional.empty()) {
      return Complain("'--finalize' mounts nothing: what is '" + std::string(positional[0]) + "'?");
    }
    if (options.engine.upper.empty()) return Complain("'--finalize' needs option 'upperdir'");
    if (options.mount.read_only) {
      return Complain("option 'ro' and '--finalize', which writes to upperdir, exclude each other");
    }
    STRATA_TRY(CheckTogether(options));
    return options;
  }
  if (positional.empty()) return Complain("no mountpoint given (try --help)");
  if (positional.size() > 2) {
    return Complain("too many arguments: '" + std::string(positional[2]) +
                    "' (expected [SOURCE] MOUNTPOINT)");
  }
  options.mount.mountpoint = positional.back();
  // mount(8) insists on a source; most people write anything there.
  if (!options.fsname.empty()) {
    options.mount.source = options.fsname;
  } else if (positional.size() == 2 && !positional.front().empty()) {
    options.mount.source = positional.front();
  }
  STRATA_TRY(CheckTogether(options));
  // Nothing is written that would have to be synced, so nothing needs the mark of it. After a
  // remount, which nobody tells us of, all is synced.
  if (options.mount.read_only) options.engine.volatile_upper = false;
  return options;
}

Result<> MakePathsAbsolute(Options& options) {
  std::error_code error;
  const std::string here = std::filesystem::current_path(error).string();
  if (error) return Fail(error.value(), "working directory");
  const auto absolute = [&here](std::string& path) {
    if (!path.empty() && path[0] != '/') path = JoinPath(here, path);
  };
  EngineOptions& engine = options.engine;
  std::ranges::for_each(engine.lower, absolute);
  for (std::string* path :
       {&engine.chain, &engine.upper, &engine.work, &options.mount.mountpoint, &options.log_file}) {
    absolute(*path);
  }
  return {};
}

}  // namespace strata::fusefs
