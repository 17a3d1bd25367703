#include "manager/registry/credentials.h"

#include <fcntl.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/base64.h"
#include "base/file_ops.h"
#include "base/try.h"

namespace strata::manager {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kConfigLimit = std::size_t{1} << 20U;

// docker's client files its credentials for docker.io under this name.
constexpr std::string_view kDockerHubKey = "index.docker.io";

std::string GetString(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

Result<RegistryCredentials> FromObject(const Json& object, const char* op) {
  RegistryCredentials result{.username = GetString(object, "username"),
                             .password = GetString(object, "password"),
                             .identity_token = GetString(object, "identitytoken"),
                             .registry_token = GetString(object, "registrytoken")};
  const std::string packed = GetString(object, "auth");
  if (result.username.empty() && !packed.empty()) {
    const auto text = DecodeBase64(packed);
    const std::size_t colon = text ? text->find(':') : std::string::npos;
    if (colon == std::string::npos)
      return Fail(EINVAL, op, "\"auth\" is not base64 of user:password");
    result.username = text->substr(0, colon);
    result.password = text->substr(colon + 1);
    // docker pads the password with NULs.
    result.password.erase(result.password.find_last_not_of('\0') + 1);
  }
  if (result.username == "<token>") {  // docker's mark of an identity token as a password
    if (result.identity_token.empty()) result.identity_token = result.password;
    result.username.clear();
    result.password.clear();
  }
  return result;
}

// "https://index.docker.io/v1/" -> "index.docker.io".
std::string_view HostOfKey(std::string_view key) {
  for (const std::string_view scheme : {"https://", "http://"}) {
    if (key.starts_with(scheme)) key.remove_prefix(scheme.size());
  }
  return key.substr(0, key.find('/'));
}

}  // namespace

Result<RegistryCredentials> ParseRegistryAuthHeader(std::string_view header) {
  constexpr const char* kOp = "invalid X-Registry-Auth header";
  if (header.empty()) return RegistryCredentials{};
  const auto text = DecodeBase64(header);
  if (!text) return Fail(EINVAL, kOp, "not base64");
  const Json json = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (json.is_null()) return RegistryCredentials{};  // what some clients send for "none"
  if (!json.is_object()) return Fail(EINVAL, kOp, "not a JSON object");
  return FromObject(json, kOp);
}

Result<RegistryCredentials> CredentialsFromDockerConfig(std::string_view json,
                                                        std::string_view registry) {
  constexpr const char* kOp = "read credentials";
  const Json config = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) return Fail(EINVAL, kOp, "not a JSON object");
  const auto auths = config.find("auths");
  if (auths == config.end() || !auths->is_object()) return RegistryCredentials{};
  const std::string_view wanted = registry == "docker.io" ? kDockerHubKey : registry;
  for (const auto& [key, value] : auths->items()) {
    if ((HostOfKey(key) == wanted || key == registry) && value.is_object()) {
      return FromObject(value, kOp);
    }
  }
  return RegistryCredentials{};
}

Result<RegistryCredentials> LoadDockerCredentials(const std::string& path,
                                                  std::string_view registry) {
  FileOps& ops = FileOps::System();
  auto file = ops.Open(AT_FDCWD, path.c_str(), O_RDONLY | O_NONBLOCK);
  if (!file) {
    if (file.error().code() == ENOENT || file.error().code() == ENOTDIR) {
      return RegistryCredentials{};
    }
    return std::unexpected(std::move(file.error()).WithContext(path));
  }
  auto text = ReadAll(ops, file->get(), kConfigLimit);
  if (!text) return std::unexpected(std::move(text.error()).WithContext(path));
  auto result = CredentialsFromDockerConfig(*text, registry);
  if (!result) return std::unexpected(std::move(result.error()).WithContext(path));
  return result;
}

std::string DefaultDockerConfigPath() {
  if (const char* dir = std::getenv("DOCKER_CONFIG"); dir != nullptr && *dir != '\0') {
    return std::string(dir) + "/config.json";
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') {
    return std::string(home) + "/.docker/config.json";
  }
  return {};
}

}  // namespace strata::manager
