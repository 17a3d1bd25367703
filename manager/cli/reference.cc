#include "manager/cli/reference.h"

#include <fcntl.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/base64.h"
#include "base/file_ops.h"
#include "base/path.h"
#include "base/try.h"
#include "manager/cli/flags.h"
#include "manager/cli/json.h"

namespace strata::manager::cli {
namespace {

constexpr std::size_t kMaxConfig = 1UL * 1024 * 1024;
constexpr std::string_view kDockerHub = "docker.io";
constexpr const char* kDockerHubKey = "https://index.docker.io/v1/";

std::string ConfigPath() {
  if (const char* dir = std::getenv("DOCKER_CONFIG"); dir != nullptr && *dir != '\0') {
    return JoinPath(dir, "config.json");
  }
  const char* home = std::getenv("HOME");
  return home == nullptr ? "" : JoinPath(home, ".docker/config.json");
}

// "user:password" in base64, as `docker login` and `podman login` store it.
Result<std::string> AuthHeader(const Json& entry, std::string_view registry) {
  std::string user = TextAt(entry, "username");
  std::string password = TextAt(entry, "password");
  if (const std::string auth = TextAt(entry, "auth"); !auth.empty()) {
    STRATA_TRY_ASSIGN(const std::string plain, DecodeBase64(auth));
    const auto colon = plain.find(':');
    if (colon == std::string::npos) return Fail(EINVAL, "auth", "no user:password in it");
    user = plain.substr(0, colon);
    password = plain.substr(colon + 1);
  }
  Json header = Json::object();
  header["username"] = user;
  header["password"] = password;
  header["serveraddress"] = registry;
  if (std::string token = TextAt(entry, "identitytoken"); !token.empty()) {
    header["identitytoken"] = std::move(token);
  }
  return EncodeBase64Url(DumpJson(header));
}

}  // namespace

ImageName SplitReference(std::string_view reference) {
  if (const auto at = reference.find('@'); at != std::string_view::npos) {
    // name:tag@digest: the digest alone decides.
    ImageName image = SplitReference(reference.substr(0, at));
    image.tag = reference.substr(at + 1);
    return image;
  }
  const auto colon = reference.rfind(':');
  if (colon == std::string_view::npos || reference.find('/', colon) != std::string_view::npos) {
    return {std::string(reference), ""};
  }
  return {std::string(reference.substr(0, colon)), std::string(reference.substr(colon + 1))};
}

std::string RegistryOf(std::string_view name) {
  const auto slash = name.find('/');
  const std::string_view first = name.substr(0, slash);
  if (slash == std::string_view::npos ||
      (first.find_first_of(".:") == std::string_view::npos && first != "localhost")) {
    return std::string(kDockerHub);
  }
  return std::string(first);
}

Result<std::string> RegistryAuth(std::string_view registry) {
  const std::string path = ConfigPath();
  if (path.empty()) return std::string();
  auto file = FileOps::System().Open(AT_FDCWD, path.c_str(), O_RDONLY);
  if (!file) {
    if (file.error().code() == ENOENT || file.error().code() == ENOTDIR) return std::string();
    return std::unexpected(std::move(file).error().WithContext(path));
  }
  const auto explain = [&](Error error) {
    return std::unexpected(std::move(std::move(error).WithContext(path)));
  };
  auto text = ReadAll(FileOps::System(), file->get(), kMaxConfig);
  if (!text) return explain(std::move(text).error());
  const auto config = ParseJson(*text);
  if (!config) return Fail(EINVAL, "parse JSON", path);
  const Json& auths = At(*config, "auths");
  const Json* entry = &At(auths, registry);
  if (entry->is_null()) entry = &At(auths, "https://" + std::string(registry));
  if (entry->is_null() && registry == kDockerHub) entry = &At(auths, kDockerHubKey);
  if (!entry->is_object()) return std::string();
  auto header = AuthHeader(*entry, registry);
  if (!header) return explain(std::move(header).error());
  return header;
}

}  // namespace strata::manager::cli
