// The command line of stratafs.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "base/error.h"
#include "base/logging.h"
#include "fusefs/daemon/transports.h"
#include "fusefs/transport/mount.h"
#include "fusefs/union/types.h"

namespace strata::fusefs {

struct Options {
  EngineOptions engine;
  MountOptions mount;               // `mountpoint` as given, not yet absolute
  std::optional<bool> allow_other;  // unset: as root
  TransportOptions transport;
  bool writeback = false;
  bool acl = true;
  std::optional<bool> locks;  // unset: with EngineOptions::opens
  bool foreground = false;
  bool finalize = false;                  // mount nothing; Engine::Finalize()
  std::optional<log::Level> log_level;    // unset: from the environment
  std::optional<log::Format> log_format;  // likewise
  std::string log_file;                   // empty: stderr while there is one
  bool help = false;
  bool version = false;
};

// Parses "[options] [SOURCE] MOUNTPOINT" (no mountpoint with --finalize), in any order, as
// mount.fuse3 and people call it. EINVAL with one line for the user in the detail, naming the
// option that is wrong. With `help` or `version` nothing else is checked.
Result<Options> ParseOptions(std::span<const char* const> arguments);

// The text of --help.
std::string HelpText();

}  // namespace strata::fusefs
