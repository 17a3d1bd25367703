// Image references as the client must understand them: to split name from tag for the API, and to
// find the registry whose credentials a pull needs. The daemon does the checking.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace strata::manager::cli {

struct ImageName {
  std::string name;  // "debian", "registry.example:5000/team/app"
  std::string tag;   // "12", "sha256:…", or "" if none was given
};

ImageName SplitReference(std::string_view reference);

// "docker.io" for names without a host.
std::string RegistryOf(std::string_view name);

// The value of X-Registry-Auth for a registry: from the "auths" of $DOCKER_CONFIG/config.json
// (~/.docker/config.json). "" if there are none for it. EINVAL for a file that is not understood.
Result<std::string> RegistryAuth(std::string_view registry);

}  // namespace strata::manager::cli
