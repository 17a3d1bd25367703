// Getting an image through the daemon; `pull`, `run` and `create` share it.
#pragma once

#include <string>

#include "base/error.h"
#include "manager/cli/client.h"
#include "manager/cli/progress.h"

namespace strata::manager::cli {

struct PullRequest {
  std::string reference;
  std::string platform;   // "" for the daemon's own
  bool insecure = false;  // plain http or any certificate will do
  bool quiet = false;
};

// Credentials come from docker's configuration file (reference.h).
Result<> PullImage(Client& client, const PullRequest& request);

// "debian" -> "debian:latest"; references with a tag or digest stay.
std::string WithDefaultTag(const std::string& reference);

}  // namespace strata::manager::cli
