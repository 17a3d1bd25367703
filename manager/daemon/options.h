// stratad's command line.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "base/logging.h"
#include "layerstore/archive/unpack_options.h"
#include "layerstore/layer/verity_guard.h"
#include "layerstore/scrub/scrubber.h"

namespace strata::manager {

struct DaemonOptions {
  std::string data_root;                       // STRATA_ROOT, /var/lib/strata
  std::vector<std::string> additional_stores;  // absolute, the first asked first
  std::string run_root;                        // beside the first unix socket, /run/strata
  std::vector<std::string> hosts;              // unix://<run root>/strata.sock
  std::string runtime;                         // "": probe
  std::string stratafs;                        // "": beside stratad, then PATH
  std::string pid_file;
  std::vector<std::string> insecure_registries;
  layerstore::UnpackLimits layer_limits{.setting = "stratad --layer-limit"};
  layerstore::ScrubSettings scrub;
  layerstore::Verity verity = layerstore::Verity::kAuto;
  log::Level log_level = log::Level::kInfo;
  log::Format log_format = log::Format::kText;
  bool help = false;
  bool version = false;
};

// EINVAL with what is wrong.
Result<DaemonOptions> ParseDaemonOptions(const std::vector<std::string>& arguments);
const char* DaemonHelp();

}  // namespace strata::manager
