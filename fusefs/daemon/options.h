// The command line of stratafs.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/logging.h"
#include "fusefs/daemon/transports.h"
#include "fusefs/transport/mount.h"
#include "fusefs/union/types.h"

namespace strata::fusefs {

// How the program was called: by mount(8), by the name mount.fuse.stratafs, or in its own right.
enum class Invocation : std::uint8_t { kDirect, kMountHelper };
Invocation InvocationOf(std::string_view program);

struct Options {
  EngineOptions engine;
  MountOptions mount;               // `mountpoint` as given, not yet absolute
  std::optional<bool> allow_other;  // unset: as root
  TransportOptions transport;
  bool writeback = false;
  std::optional<bool> locks;  // unset: with EngineOptions::opens
  bool foreground = false;
  bool finalize = false;                  // mount nothing; Engine::Finalize()
  std::optional<log::Level> log_level;    // unset: from the environment
  std::optional<log::Format> log_format;  // likewise
  std::string log_file;                   // empty: stderr while there is one
  bool fake = false;                      // mount nothing; only check
  std::string mount_namespace;            // path or process id; empty: where we are
  std::string fsname;                     // wins over SOURCE
  bool lower_list = false;                // `lowerdir` was given
  bool sloppy = false;                    // `unknown` are no error
  std::vector<std::string> unknown;       // mount options of no meaning here
  bool help = false;
  bool version = false;
};

// Parses "[options] [SOURCE] MOUNTPOINT" (no mountpoint with --finalize), in any order, as
// mount.fuse3 and people call it; for mount(8) itself "SOURCE MOUNTPOINT [-sfnv] [-N namespace]
// [-o options] [-t type]". EINVAL with one line for the user in the detail, naming the option that
// is wrong. With `help` or `version` nothing else is checked.
Result<Options> ParseOptions(std::span<const char* const> arguments,
                             Invocation invocation = Invocation::kDirect);

// Completes relative paths with the working directory, for a process that is going to leave it.
Result<> MakePathsAbsolute(Options& options);

// The text of --help.
std::string HelpText();

}  // namespace strata::fusefs
