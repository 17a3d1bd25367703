// Image manifests and image indexes, OCI v1 and docker v2 schema 2 alike: one set of types, read
// from and written to JSON.
// https://github.com/opencontainers/image-spec/blob/main/manifest.md and image-index.md
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/digest.h"
#include "base/error.h"

namespace strata::layerstore {

// Largest manifest or index taken from anybody (what registries accept, distribution spec
// "pushing manifests"), and most descriptors in one.
inline constexpr std::size_t kManifestBytesMax = std::size_t{4} * 1024 * 1024;
inline constexpr std::size_t kDescriptorsMax = 10'000;
// Largest blob size a descriptor may claim.
inline constexpr std::uint64_t kBlobBytesMax = std::uint64_t{1} << 40U;

// What an image runs on; GOOS and GOARCH words ("linux", "amd64", "arm64" + variant "v8").
struct Platform {
  std::string os;
  std::string architecture;
  std::string variant;
  std::string os_version;

  bool operator==(const Platform&) const = default;
  std::string ToString() const;  // "linux/arm64/v8"
};

// The machine this program runs on.
Platform HostPlatform();
// "os/arch[/variant]", or "arch" alone; EINVAL otherwise. Aliases x86_64, aarch64, … are accepted.
Result<Platform> ParsePlatform(std::string_view text);
// Whether an image for `have` runs where `want` is asked for. An empty variant of `want` takes any;
// "arm64" and "arm64/v8" are the same.
bool PlatformMatches(const Platform& want, const Platform& have);

// Names a blob. `size` is what the peer claims; whoever fetches the blob verifies size and digest.
struct Descriptor {
  std::string media_type;
  Digest digest;
  std::uint64_t size = 0;
  std::vector<std::string> urls;
  std::map<std::string, std::string> annotations;
  std::optional<Platform> platform;
};

// One image for one platform.
struct Manifest {
  std::string media_type;  // media_type::kOciManifest or kDockerManifest
  Descriptor config;
  std::vector<Descriptor> layers;  // base first
  std::map<std::string, std::string> annotations;

  // JSON text, keys in the specification's order; byte-identical for equal manifests.
  std::string ToJson() const;
};

// A list of manifests, one per platform.
struct Index {
  std::string media_type;  // media_type::kOciIndex or kDockerList
  std::vector<Descriptor> manifests;
  std::map<std::string, std::string> annotations;

  std::string ToJson() const;
};

using ManifestOrIndex = std::variant<Manifest, Index>;

// Reads a manifest or an index. `content_type` is what the transport said ("" if it said nothing);
// a body whose own mediaType disagrees is refused, and so is one that has the fields of both kinds
// (CVE-2021-41190), a schema version other than 2, a digest that is not sha256:<64 hex>, a negative
// or absurd size, too many descriptors or too many bytes. EINVAL, the reason in the detail.
Result<ManifestOrIndex> ParseManifestOrIndex(std::string_view json, std::string_view content_type);
// The same where an index would be wrong, and where a manifest would be.
Result<Manifest> ParseManifest(std::string_view json, std::string_view content_type);
Result<Index> ParseIndex(std::string_view json, std::string_view content_type);

// The manifest of `index` for `want`: the first exact match, else the first PlatformMatches one.
// ENOENT, with what is on offer in the detail. Descriptors without a platform match last.
Result<Descriptor> SelectPlatform(const Index& index, const Platform& want);

// Fails with EBADMSG unless `body` has the size and digest of `descriptor`.
Result<> VerifyBytes(const Descriptor& descriptor, std::string_view body);

}  // namespace strata::layerstore
