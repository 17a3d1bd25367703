#include "fusefs/daemon/options.h"

#include <sys/mount.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/path.h"
#include "base/try.h"
#include "fusefs/daemon/option_string.h"

namespace strata::fusefs {
namespace {

constexpr unsigned kMaxThreads = 256;
constexpr unsigned kMaxSpinMicroseconds = 100000;

std::unexpected<Error> Complain(std::string text) { return Fail(EINVAL, "", std::move(text)); }

Result<unsigned> ParseNumber(std::string_view name, std::string_view text, unsigned low,
                             unsigned high) {
  unsigned number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < low || number > high) {
    return Complain("option '" + std::string(name) + "': '" + std::string(text) +
                    "' is not a number from " + std::to_string(low) + " to " +
                    std::to_string(high));
  }
  return number;
}

// A number of bytes, as "4096", "64K", "1M" or "2G".
Result<std::uint64_t> ParseSize(std::string_view name, std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  constexpr std::string_view kUnits = "KMGT";
  const std::size_t power = unit.empty() ? 0 : kUnits.find(unit[0]) + 1;
  const bool valid = error == std::errc() && unit.size() <= 1 && (unit.empty() || power != 0) &&
                     number <= (std::uint64_t{1} << 62U) >> (10 * power);
  if (!valid) {
    return Complain("option '" + std::string(name) + "': '" + std::string(text) +
                    "' is not a size like 4096, 64K, 1M or 2G");
  }
  return number << (10 * power);
}

template <class T>
using Words = std::span<const std::pair<std::string_view, T>>;

template <class T>
Result<T> ParseWord(std::string_view name, std::string_view text, Words<T> words) {
  std::string known;
  for (const auto& [word, value] : words) {
    if (word == text) return value;
    known.append(known.empty() ? "" : ", ").append(word);
  }
  return Complain("option '" + std::string(name) + "': '" + std::string(text) + "' is none of " +
                  known);
}

constexpr std::array<std::pair<std::string_view, CopyUpPolicy>, 3> kCopyUpWords{{
    {"write", CopyUpPolicy::kWrite},
    {"open", CopyUpPolicy::kOpen},
    {"read", CopyUpPolicy::kRead},
}};

constexpr std::array<std::pair<std::string_view, PassthroughPolicy>, 3> kPassthroughWords{{
    {"all", PassthroughPolicy::kAll},
    {"large", PassthroughPolicy::kLarge},
    {"off", PassthroughPolicy::kOff},
}};

constexpr std::array<std::pair<std::string_view, TransportChoice>, 3> kTransportWords{{
    {"dev", TransportChoice::kDevice},
    {"uring", TransportChoice::kUring},
    {"auto", TransportChoice::kAuto},
}};

// --- the options of -o --------------------------------------------------------------------------

enum class Takes : std::uint8_t { kNothing, kValue, kEither };

struct MountOption {
  std::string_view name;
  Takes takes;
  Result<> (*apply)(Options&, std::string_view name, std::string_view value);
};

// `kOpposites`: what an earlier option may have asked for instead.
template <unsigned long kFlag, unsigned long kOpposites = 0>
Result<> AddFlag(Options& options, std::string_view /*name*/, std::string_view /*value*/) {
  options.mount.flags &= ~kOpposites;
  options.mount.flags |= kFlag;
  return {};
}

template <unsigned long kFlag>
Result<> DropFlag(Options& options, std::string_view /*name*/, std::string_view /*value*/) {
  options.mount.flags &= ~kFlag;
  return {};
}

constexpr unsigned long kNoAtime = MS_NOATIME;
constexpr unsigned long kRelatime = MS_RELATIME;
constexpr unsigned long kStrictAtime = MS_STRICTATIME;

template <bool EngineOptions::* kMember>
Result<> SetInEngine(Options& options, std::string_view /*name*/, std::string_view /*value*/) {
  options.engine.*kMember = true;
  return {};
}

template <bool kValue>
Result<> SetReadOnly(Options& options, std::string_view /*name*/, std::string_view /*value*/) {
  options.mount.read_only = kValue;
  return {};
}

Result<> Nothing(Options& /*options*/, std::string_view /*name*/, std::string_view /*value*/) {
  return {};
}

Result<> PassOn(Options& options, std::string_view name, std::string_view value) {
  options.mount.extra.push_back(std::string(name) + "=" + std::string(value));
  return {};
}

Result<> RefuseRemount(Options& /*options*/, std::string_view name, std::string_view /*value*/) {
  return Complain(
      "option '" + std::string(name) +
      "': stratafs cannot change a mount; unmount it and mount again, or change ro, rw, "
      "nosuid, ... alone with 'mount -i -o remount,...'");
}

Result<> AddLowerList(Options& options, std::string_view name, std::string_view value) {
  if (std::exchange(options.lower_list, true)) {
    return Complain("option '" + std::string(name) +
                    "' is given twice; 'lowerdir+=DIR' adds one more layer");
  }
  for (const std::string_view directory : SplitUnescaped(value, ':')) {
    if (directory.empty()) {
      return Complain("option '" + std::string(name) + "': there is an empty directory name in '" +
                      std::string(value) + "'");
    }
    options.engine.lower.push_back(Unescape(directory));
  }
  return {};
}

Result<> AddLower(Options& options, std::string_view /*name*/, std::string_view value) {
  options.engine.lower.push_back(Unescape(value));
  return {};
}

template <std::string EngineOptions::* kMember>
Result<> SetDirectory(Options& options, std::string_view name, std::string_view value) {
  std::string& directory = options.engine.*kMember;
  if (!directory.empty()) {
    return Complain("option '" + std::string(name) + "' is given twice");
  }
  directory = Unescape(value);
  return {};
}

Result<> SetCopyUp(Options& options, std::string_view name, std::string_view value) {
  STRATA_TRY_ASSIGN(options.engine.copy_up,
                    ParseWord(name, value, Words<CopyUpPolicy>(kCopyUpWords)));
  return {};
}

Result<> SetPassthrough(Options& options, std::string_view name, std::string_view value) {
  STRATA_TRY_ASSIGN(options.engine.passthrough,
                    ParseWord(name, value, Words<PassthroughPolicy>(kPassthroughWords)));
  return {};
}

constexpr std::array<std::pair<std::string_view, bool>, 2> kSwitchWords{
    {{"on", true}, {"off", false}}};

template <bool EngineOptions::* kMember>
Result<> Switch(Options& options, std::string_view name, std::string_view value) {
  STRATA_TRY_ASSIGN(options.engine.*kMember, ParseWord(name, value, Words<bool>(kSwitchWords)));
  return {};
}

Result<> SetLocks(Options& options, std::string_view name, std::string_view value) {
  STRATA_TRY_ASSIGN(options.locks, ParseWord(name, value, Words<bool>(kSwitchWords)));
  return {};
}

template <std::uint64_t EngineOptions::* kMember>
Result<> SetSize(Options& options, std::string_view name, std::string_view value) {
  STRATA_TRY_ASSIGN(options.engine.*kMember, ParseSize(name, value));
  return {};
}

Result<> SetTransport(Options& options, std::string_view name, std::string_view value) {
  STRATA_TRY_ASSIGN(options.transport.choice,
                    ParseWord(name, value, Words<TransportChoice>(kTransportWords)));
  return {};
}

Result<> SetThreads(Options& options, std::string_view name, std::string_view value) {
  STRATA_TRY_ASSIGN(options.transport.threads, ParseNumber(name, value, 1, kMaxThreads));
  return {};
}

Result<> SetSpin(Options& options, std::string_view name, std::string_view value) {
  STRATA_TRY_ASSIGN(const unsigned spin, ParseNumber(name, value, 0, kMaxSpinMicroseconds));
  options.transport.spin = std::chrono::microseconds(spin);
  return {};
}

Result<> SetWalkAhead(Options& options, std::string_view name, std::string_view value) {
  STRATA_TRY_ASSIGN(options.engine.walk_ahead_threads, ParseNumber(name, value, 0, kMaxThreads));
  return {};
}

Result<> SetFsName(Options& options, std::string_view /*name*/, std::string_view value) {
  options.fsname = Unescape(value);
  return {};
}

Result<> AllowOther(Options& options, std::string_view /*name*/, std::string_view /*value*/) {
  options.allow_other = true;
  return {};
}

Result<> DenyOther(Options& options, std::string_view /*name*/, std::string_view /*value*/) {
  options.allow_other = false;
  return {};
}

Result<> Writeback(Options& options, std::string_view /*name*/, std::string_view /*value*/) {
  options.writeback = true;
  return {};
}

template <bool kValue>
Result<> SetAcl(Options& options, std::string_view /*name*/, std::string_view /*value*/) {
  options.engine.acl = kValue;
  return {};
}

constexpr MountOption kMountOptions[] = {
    // the union
    {"lowerdir", Takes::kValue, AddLowerList},
    {"lowerdir+", Takes::kValue, AddLower},
    {"chain", Takes::kValue, SetDirectory<&EngineOptions::chain>},
    {"upperdir", Takes::kValue, SetDirectory<&EngineOptions::upper>},
    {"workdir", Takes::kValue, SetDirectory<&EngineOptions::work>},
    {"copyup", Takes::kValue, SetCopyUp},
    {"passthrough", Takes::kValue, SetPassthrough},
    {"partial", Takes::kValue, Switch<&EngineOptions::partial_copy_up>},
    {"copyup_threshold", Takes::kValue, SetSize<&EngineOptions::copy_up_threshold>},
    {"complete", Takes::kValue, SetSize<&EngineOptions::completion_rate>},
    {"metacopy", Takes::kValue, Switch<&EngineOptions::metacopy>},
    {"metacopy_threshold", Takes::kValue, SetSize<&EngineOptions::metacopy_threshold>},
    {"coherent", Takes::kNothing, SetInEngine<&EngineOptions::coherent>},
    {"opens", Takes::kValue, Switch<&EngineOptions::opens>},
    {"volatile", Takes::kNothing, SetInEngine<&EngineOptions::volatile_upper>},
    {"userxattr", Takes::kNothing, SetInEngine<&EngineOptions::user_xattr>},
    // FUSE
    {"allow_other", Takes::kNothing, AllowOther},
    {"noallow_other", Takes::kNothing, DenyOther},
    {"default_permissions", Takes::kNothing, Nothing},
    {"fsname", Takes::kValue, SetFsName},
    {"transport", Takes::kValue, SetTransport},
    {"threads", Takes::kValue, SetThreads},
    {"spin", Takes::kValue, SetSpin},
    {"walkahead", Takes::kValue, SetWalkAhead},
    {"writeback", Takes::kNothing, Writeback},
    {"acl", Takes::kNothing, SetAcl<true>},
    {"noacl", Takes::kNothing, SetAcl<false>},
    {"locks", Takes::kValue, SetLocks},
    // every mount's
    {"ro", Takes::kNothing, SetReadOnly<true>},
    {"rw", Takes::kNothing, SetReadOnly<false>},
    {"suid", Takes::kNothing, DropFlag<MS_NOSUID>},
    {"nosuid", Takes::kNothing, AddFlag<MS_NOSUID>},
    {"dev", Takes::kNothing, DropFlag<MS_NODEV>},
    {"nodev", Takes::kNothing, AddFlag<MS_NODEV>},
    {"exec", Takes::kNothing, DropFlag<MS_NOEXEC>},
    {"noexec", Takes::kNothing, AddFlag<MS_NOEXEC>},
    {"sync", Takes::kNothing, AddFlag<MS_SYNCHRONOUS>},
    {"async", Takes::kNothing, DropFlag<MS_SYNCHRONOUS>},
    {"dirsync", Takes::kNothing, AddFlag<MS_DIRSYNC>},
    {"atime", Takes::kNothing, DropFlag<kNoAtime>},
    {"noatime", Takes::kNothing, AddFlag<kNoAtime, kRelatime | kStrictAtime>},
    {"diratime", Takes::kNothing, DropFlag<MS_NODIRATIME>},
    {"nodiratime", Takes::kNothing, AddFlag<MS_NODIRATIME>},
    {"relatime", Takes::kNothing, AddFlag<kRelatime, kNoAtime | kStrictAtime>},
    {"norelatime", Takes::kNothing, DropFlag<kRelatime>},
    {"strictatime", Takes::kNothing, AddFlag<kStrictAtime, kNoAtime | kRelatime>},
    {"nostrictatime", Takes::kNothing, DropFlag<kStrictAtime>},
    {"lazytime", Takes::kNothing, AddFlag<MS_LAZYTIME>},
    {"nolazytime", Takes::kNothing, DropFlag<MS_LAZYTIME>},
    {"silent", Takes::kNothing, AddFlag<MS_SILENT>},
    {"loud", Takes::kNothing, DropFlag<MS_SILENT>},
    {"nosymfollow", Takes::kNothing, AddFlag<MS_NOSYMFOLLOW>},
    {"symfollow", Takes::kNothing, DropFlag<MS_NOSYMFOLLOW>},
    {"mand", Takes::kNothing, Nothing},  // of no effect in any Linux we run on
    {"nomand", Takes::kNothing, Nothing},
    {"iversion", Takes::kNothing, Nothing},  // no filesystem's business but of those that know it
    {"noiversion", Takes::kNothing, Nothing},
    {"defaults", Takes::kNothing, Nothing},
    {"context", Takes::kValue, PassOn},
    {"fscontext", Takes::kValue, PassOn},
    {"defcontext", Takes::kValue, PassOn},
    {"rootcontext", Takes::kValue, PassOn},
    {"remount", Takes::kNothing, RefuseRemount},
    // for mount(8) and fstab(5) only
    {"auto", Takes::kNothing, Nothing},
    {"noauto", Takes::kNothing, Nothing},
    {"nofail", Takes::kNothing, Nothing},
    {"user", Takes::kEither, Nothing},  // "user=NAME" is who mounted
    {"nouser", Takes::kNothing, Nothing},
    {"users", Takes::kNothing, Nothing},
    {"nousers", Takes::kNothing, Nothing},
    {"owner", Takes::kNothing, Nothing},
    {"noowner", Takes::kNothing, Nothing},
    {"group", Takes::kNothing, Nothing},
    {"nogroup", Takes::kNothing, Nothing},
    {"_netdev", Takes::kNothing, Nothing},
    {"comment", Takes::kValue, Nothing},
    {"helper", Takes::kValue, Nothing},
    {"uhelper", Takes::kValue, Nothing},
};

Result<> ApplyMountOption(Options& options, std::string_view text) {
  if (text.empty() || text.starts_with("x-") || text.starts_with("X-")) return {};
  const std::size_t equals = text.find('=');
  const std::string_view name = text.substr(0, equals);
  const auto* option = std::ranges::find(kMountOptions, name, &MountOption::name);
  if (option == std::end(kMountOptions)) {
    options.unknown.emplace_back(name);
    return {};
  }
  const bool has_value = equals != std::string_view::npos;
  if (option->takes == Takes::kEither) return option->apply(options, name, {});
  if (option->takes == Takes::kNothing) {
    if (has_value) return Complain("option '" + std::string(name) + "' takes no value");
    return option->apply(options, name, {});
  }
  if (!has_value || equals + 1 == text.size()) {
    return Complain("option '" + std::string(name) + "' needs a value");
  }
  return option->apply(options, name, text.substr(equals + 1));
}

Result<> ApplyMountOptions(Options& options, std::string_view list) {
  for (const std::string_view option : SplitUnescaped(list, ',')) {
    STRATA_TRY(ApplyMountOption(options, option));
  }
  return {};
}

// --- the command line ---------------------------------------------------------------------------

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

std::string HelpText() {
  return R"(Usage: stratafs [options] [SOURCE] MOUNTPOINT
       stratafs --finalize -o lowerdir=...,upperdir=...,workdir=...

Mounts a stack of directories as one tree. Only the top one (upperdir) is written.

  stratafs -o lowerdir=TOP:MIDDLE:BASE,upperdir=UPPER,workdir=WORK /mnt
  mount -t fuse.stratafs stratafs /mnt -o lowerdir=A:B

Options:
  -o NAME[=VALUE],...    mount options, see below; may be repeated
      --lower DIR        one more lower layer, below those given before; any name, no escapes
  -f, --foreground       do not go into the background
  -d, --debug            foreground, log level trace
  -s, --single-threaded  same as -o threads=1
      --log-level LEVEL  trace, debug, info, warn (default), error or off
      --log-format FORM  text (default) or json
      --log-file FILE    append the log to FILE instead of stderr
      --finalize         mount nothing: copy up what upperdir still borrows from lower layers, so
                         that it is a plain overlayfs layer
  -h, --help             print this help
  -V, --version          print the version

Layers:
  lowerdir=DIR[:DIR...]  read-only layers, topmost first; \: \, and \\ stand for themselves
  lowerdir+=DIR          one more lower layer, below those given before
  chain=DIR              the layers of an image in a store, below all others; DIR has their index
  upperdir=DIR           the layer that takes all changes; without it the mount is read-only
  workdir=DIR            an empty directory on upperdir's filesystem; needed with upperdir
  copyup=WHEN            copy a lower file up at the first 'write' (default), at the first 'open' for
                         writing, or at the first open at all ('read')
  partial=off            copy large files up as a whole; by default only the blocks that are written
  copyup_threshold=SIZE  from which size on files are copied up in blocks (default 1M)
  complete=SIZE          copy the rest of such files in the background, so many bytes a second
                         (default 0: never)
  metacopy=off           copy the data, too, when only attributes change
  metacopy_threshold=SIZE  from which size on a change of attributes copies no data (default 128K)
  volatile               no syncing before the unmount: after a crash upperdir is refused
  userxattr              keep marks in user.overlay.* instead of trusted.overlay.*

Serving:
  passthrough=WHICH      let the kernel read 'all' lower files itself, 'large' ones (default) or none
                         ('off'); needs Linux 6.9 and CAP_SYS_ADMIN
  coherent               old descriptors see what is written to a file after its copy-up
  writeback              let the kernel gather writes; switches passthrough off
  opens=off              let the kernel open and close files without asking; switches passthrough off,
                         and leaves file locks to the kernel
  noacl                  no POSIX ACLs: setting and reading them fails
  locks=on|off           keep file locks here, so that they hold across a copy-up (default), or leave
                         them to the kernel
  transport=HOW          get requests over /dev/fuse ('dev', default), io_uring ('uring', Linux 6.14),
                         or io_uring where the system allows it already ('auto')
  threads=N              requests served at once (default 4); with io_uring for each processor
  spin=MICROSECONDS      poll for the next request before sleeping (default 100, with io_uring 0:
                         never)
  walkahead=N            threads that load directories ahead of a walk (default 4, 0: none)
  allow_other            let other users in (default for root; noallow_other: don't)
  fsname=NAME            the source shown in /proc/mounts

The usual options of mount(8) are taken as well: ro, nosuid, nodev, noexec, context=, ...
Of options that contradict each other the last one counts. See stratafs(8).
)";
}

}  // namespace strata::fusefs
