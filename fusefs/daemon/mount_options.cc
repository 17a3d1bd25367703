#include "fusefs/daemon/mount_options.h"

#include <sys/mount.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <string>
#include <utility>

#include "base/try.h"
#include "fusefs/daemon/option_string.h"
#include "fusefs/daemon/option_values.h"

namespace strata::fusefs {
namespace {

constexpr unsigned kMaxThreads = 256;
constexpr unsigned kMaxSpinMicroseconds = 100000;

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

}  // namespace

Result<> ApplyMountOptions(Options& options, std::string_view list) {
  for (const std::string_view option : SplitUnescaped(list, ',')) {
    STRATA_TRY(ApplyMountOption(options, option));
  }
  return {};
}

}  // namespace strata::fusefs
