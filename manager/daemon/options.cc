#include "manager/daemon/options.h"

#include <charconv>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "base/path.h"
#include "base/try.h"

namespace strata::manager {
namespace {

// "--name value" and "--name=value"; moves `at` over what it took.
Result<std::string> TakeValue(const std::vector<std::string>& arguments, std::size_t& at,
                              std::size_t equals) {
  if (equals != std::string::npos) return arguments[at].substr(equals + 1);
  if (at + 1 >= arguments.size()) {
    return Fail(EINVAL, "options", arguments[at] + " needs a value");
  }
  return arguments[++at];
}

Result<> TakeLimit(std::string_view value, layerstore::UnpackLimits& limits) {
  const std::size_t equals = value.find('=');
  if (equals == std::string_view::npos) {
    return Fail(EINVAL, "options", "--layer-limit needs NAME=VALUE");
  }
  auto set = layerstore::SetLimit(limits, value.substr(0, equals), value.substr(equals + 1));
  if (!set) return std::unexpected(std::move(set).error().WithContext("--layer-limit"));
  return {};
}

// Days, or MiB: whole numbers that no unit of ours makes too large.
Result<std::uint32_t> WholeNumber(std::string_view value, const char* option) {
  std::uint32_t number = 0;
  const char* end = value.data() + value.size();
  const auto [rest, error] = std::from_chars(value.data(), end, number);
  if (error == std::errc() && rest == end) return number;
  return Fail(EINVAL, "options", std::string(option) + " needs a whole number");
}

Result<std::string> Absolute(const std::string& path, const char* option) {
  std::error_code error;
  std::string absolute = std::filesystem::absolute(path, error).lexically_normal();
  if (error || path.empty()) return Fail(EINVAL, "options", std::string(option) + " needs a path");
  while (absolute.size() > 1 && absolute.ends_with('/')) absolute.pop_back();
  return absolute;
}

Result<> Complete(DaemonOptions& options) {
  if (options.data_root.empty()) {
    const char* root = std::getenv("STRATA_ROOT");
    options.data_root = root != nullptr && *root != '\0' ? root : "/var/lib/strata";
  }
  STRATA_TRY_ASSIGN(options.data_root, Absolute(options.data_root, "--data-root"));
  for (std::string& store : options.additional_stores) {
    STRATA_TRY_ASSIGN(store, Absolute(store, "--additional-store"));
  }
  if (options.run_root.empty()) {
    options.run_root = "/run/strata";
    for (const auto& host : options.hosts) {
      if (!host.starts_with("unix://")) continue;
      options.run_root = DirName(std::string_view(host).substr(7));
      break;
    }
  }
  STRATA_TRY_ASSIGN(options.run_root, Absolute(options.run_root, "--run-root"));
  if (options.hosts.empty()) {
    options.hosts.push_back("unix://" + JoinPath(options.run_root, "strata.sock"));
  }
  return {};
}

Result<layerstore::Verity> ParseVerity(const std::string& value) {
  if (value == "auto") return layerstore::Verity::kAuto;
  if (value == "all") return layerstore::Verity::kAll;
  if (value == "off") return layerstore::Verity::kOff;
  return Fail(EINVAL, "options", "--verity is auto, all or off, not '" + value + "'");
}

}  // namespace

const char* DaemonHelp() {
  return "Usage: stratad [OPTIONS]\n"
         "The Strata manager: images, containers and volumes, behind the Docker Engine API.\n\n"
         "  --data-root DIR           where images and containers live (STRATA_ROOT, "
         "/var/lib/strata)\n"
         "  --additional-store DIR    a store below, which is only read; repeatable\n"
         "  --run-root DIR            for what does not outlive a reboot (the first socket's "
         "directory, /run/strata)\n"
         "  -H, --host ADDRESS        listen here; repeatable: unix:///path, tcp://127.0.0.1:PORT\n"
         "  --runtime PROGRAM         OCI runtime (runc or crun, whichever works)\n"
         "  --stratafs PROGRAM        union filesystem (beside stratad, then in PATH)\n"
         "  --insecure-registry HOST  registry that may speak plain http; repeatable\n"
         "  --layer-limit NAME=VALUE  what a layer may ask for, see stratad(8); repeatable\n"
         "  --scrub-every DAYS        read all of the store so often (30; 0: when asked to)\n"
         "  --scrub-rate MIB          so much of it a second (16; 0: as fast as it goes)\n"
         "  --verity WHICH            files of layers that fs-verity guards: auto (large ones), "
         "all, off\n"
         "  --pid-file FILE           write the process id there\n"
         "  --log-level LEVEL         trace, debug, info, warn, error, off\n"
         "  --log-format FORMAT       text, json\n"
         "  --version, --help\n";
}

Result<DaemonOptions> ParseDaemonOptions(const std::vector<std::string>& arguments) {
  DaemonOptions options;
  if (std::getenv("STRATA_LOG") != nullptr) {
    STRATA_TRY_ASSIGN(options.log_level, log::LevelFromEnvironment());
  }
  STRATA_TRY_ASSIGN(options.log_format, log::FormatFromEnvironment());
  for (std::size_t at = 0; at < arguments.size(); ++at) {
    const std::size_t equals = arguments[at].find('=');
    const std::string name = arguments[at].substr(0, equals);
    if (name == "--help" || name == "-h") {
      options.help = true;
      return options;
    }
    if (name == "--version") {
      options.version = true;
      return options;
    }
    const bool known = name == "--data-root" || name == "--additional-store" ||
                       name == "--run-root" || name == "--host" || name == "-H" ||
                       name == "--runtime" || name == "--stratafs" || name == "--pid-file" ||
                       name == "--insecure-registry" || name == "--layer-limit" ||
                       name == "--scrub-every" || name == "--scrub-rate" || name == "--verity" ||
                       name == "--log-level" || name == "--log-format";
    if (!known) return Fail(EINVAL, "options", "unknown option '" + arguments[at] + "'");
    STRATA_TRY_ASSIGN(std::string value, TakeValue(arguments, at, equals));
    if (name == "--data-root") options.data_root = value;
    if (name == "--additional-store") options.additional_stores.push_back(value);
    if (name == "--run-root") options.run_root = value;
    if (name == "--host" || name == "-H") options.hosts.push_back(value);
    if (name == "--runtime") options.runtime = value;
    if (name == "--stratafs") options.stratafs = value;
    if (name == "--pid-file") options.pid_file = value;
    if (name == "--insecure-registry") options.insecure_registries.push_back(value);
    if (name == "--layer-limit") {
      STRATA_TRY(TakeLimit(value, options.layer_limits));
    }
    if (name == "--scrub-every") {
      STRATA_TRY_ASSIGN(const std::uint32_t days, WholeNumber(value, "--scrub-every"));
      options.scrub.every = std::chrono::days(days);
    }
    if (name == "--scrub-rate") {
      STRATA_TRY_ASSIGN(const std::uint32_t mib, WholeNumber(value, "--scrub-rate"));
      options.scrub.bytes_per_second = std::uint64_t{mib} << 20U;
    }
    if (name == "--verity") {
      STRATA_TRY_ASSIGN(options.verity, ParseVerity(value));
    }
    if (name == "--log-level") {
      STRATA_TRY_ASSIGN(options.log_level, log::ParseLevel(value));
    }
    if (name == "--log-format") {
      STRATA_TRY_ASSIGN(options.log_format, log::ParseFormat(value));
    }
  }
  STRATA_TRY(Complete(options));
  return options;
}

}  // namespace strata::manager
