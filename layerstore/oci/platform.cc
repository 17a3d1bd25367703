// Platforms: the machine's own, parsing and matching (declared in manifest.h).
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "base/utf8.h"
#include "layerstore/oci/manifest.h"

namespace strata::layerstore {
namespace {

struct Alias {
  std::string_view name;  // as uname(2) or people say it
  std::string_view architecture;
  std::string_view variant;
};

// Go's names for machines: https://go.dev/doc/install/source#environment
constexpr std::array kAliases = {
    Alias{"x86_64", "amd64", ""}, Alias{"x86-64", "amd64", ""},       Alias{"aarch64", "arm64", ""},
    Alias{"armv8l", "arm64", ""}, Alias{"armhf", "arm", "v7"},        Alias{"armv7l", "arm", "v7"},
    Alias{"armel", "arm", "v6"},  Alias{"armv6l", "arm", "v6"},       Alias{"i386", "386", ""},
    Alias{"i686", "386", ""},     Alias{"loongarch64", "loong64", ""}};

// The variant that none stands for.
std::string_view EffectiveVariant(const Platform& platform) {
  if (!platform.variant.empty()) return platform.variant;
  if (platform.architecture == "arm64") return "v8";
  if (platform.architecture == "arm") return "v7";
  return {};
}

void SetArchitecture(Platform& platform, std::string_view name) {
  const auto* alias = std::find_if(kAliases.begin(), kAliases.end(),
                                   [&](const Alias& a) { return a.name == name; });
  if (alias == kAliases.end()) {
    platform.architecture = std::string(name);
    return;
  }
  platform.architecture = std::string(alias->architecture);
  platform.variant = std::string(alias->variant);
}

}  // namespace

std::string Platform::ToString() const {
  std::string text = os + '/' + architecture;
  if (!variant.empty()) text += '/' + variant;
  return text;
}

Platform HostPlatform() {
  Platform platform;
  platform.os = "linux";
  struct utsname name = {};
  // uname(2) fails for a bad pointer only.
  if (::uname(&name) == 0) SetArchitecture(platform, name.machine);
  return platform;
}

Result<Platform> ParsePlatform(std::string_view text) {
  const auto bad = [&] {
    return Fail(EINVAL, "platform", "'" + ShownText(text) + "' is not os/architecture[/variant]");
  };
  std::vector<std::string_view> parts;
  for (std::string_view rest = text;;) {
    const std::size_t slash = rest.find('/');
    parts.push_back(rest.substr(0, slash));
    if (slash == std::string_view::npos) break;
    rest.remove_prefix(slash + 1);
  }
  constexpr std::size_t kPartsMax = 3;
  if (parts.size() > kPartsMax) return bad();
  for (const std::string_view part : parts) {
    const auto word = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
    };
    if (part.empty() || !std::all_of(part.begin(), part.end(), word)) return bad();
  }
  Platform platform;
  platform.os = parts.size() == 1 ? "linux" : std::string(parts[0]);
  SetArchitecture(platform, parts.size() == 1 ? parts[0] : parts[1]);
  if (parts.size() == kPartsMax) platform.variant = std::string(parts[2]);
  return platform;
}

bool PlatformMatches(const Platform& want, const Platform& have) {
  if (want.os != have.os || want.architecture != have.architecture) return false;
  return want.variant.empty() || EffectiveVariant(want) == EffectiveVariant(have);
}

}  // namespace strata::layerstore
