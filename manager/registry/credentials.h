// What a registry is told about who asks, and where that comes from.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace strata::manager {

// Empty: anonymous. Never logged and never part of an error's detail.
struct RegistryCredentials {
  std::string username{};
  std::string password{};
  std::string identity_token{};  // an OAuth2 refresh token, exchanged at the token server
  std::string registry_token{};  // a bearer token, sent to the registry as it is

  bool empty() const {
    return username.empty() && password.empty() && identity_token.empty() && registry_token.empty();
  }
};

// The Docker Engine API's X-Registry-Auth header: base64url of a JSON object
// {username, password, auth, identitytoken, registrytoken}; "" and "{}" are anonymous.
// EINVAL "invalid X-Registry-Auth header".
Result<RegistryCredentials> ParseRegistryAuthHeader(std::string_view header);

// The entry for `registry` ("docker.io", "localhost:5000") in the `auths` of a docker client
// configuration; empty credentials if there is none. EINVAL if the text is not such a file.
Result<RegistryCredentials> CredentialsFromDockerConfig(std::string_view json,
                                                        std::string_view registry);

// The same from a file that may be missing. Only reads; credential helpers are not run.
Result<RegistryCredentials> LoadDockerCredentials(const std::string& path,
                                                  std::string_view registry);

// $DOCKER_CONFIG/config.json, else $HOME/.docker/config.json; "" without either variable.
std::string DefaultDockerConfigPath();

}  // namespace strata::manager
