// The image configuration: what an image runs and which layers it is made of. Its digest is the
// image's id. https://github.com/opencontainers/image-spec/blob/main/config.md
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "layerstore/oci/manifest.h"

namespace strata::layerstore {

// Largest configuration accepted and most layers one may have.
inline constexpr std::size_t kConfigBytesMax = std::size_t{8} * 1024 * 1024;
inline constexpr std::size_t kLayersMax = 4096;

// docker's HEALTHCHECK; times in nanoseconds, 0 = inherit/default.
struct HealthCheck {
  std::vector<std::string> test;
  std::int64_t interval = 0;
  std::int64_t timeout = 0;
  std::int64_t start_period = 0;
  std::int64_t retries = 0;
};

// One step of the image's making.
struct HistoryEntry {
  std::string created;  // RFC 3339, may be empty
  std::string created_by;
  std::string author;
  std::string comment;
  bool empty_layer = false;
};

// Absent and empty are the same for every field but those declared optional.
struct ImageConfig {
  std::string created;  // RFC 3339, may be empty
  std::string author;
  Platform platform;

  std::string user;
  std::vector<std::string> exposed_ports;  // "80/tcp"
  std::vector<std::string> env;            // "NAME=value"
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
  std::vector<std::string> volumes;  // absolute paths in the container
  std::string working_dir;
  std::map<std::string, std::string> labels;
  std::string stop_signal;
  std::optional<std::int64_t> stop_timeout;  // seconds
  std::vector<std::string> shell;
  std::vector<std::string> on_build;
  std::optional<HealthCheck> health_check;

  std::vector<Digest> diff_ids;  // base first
  std::vector<HistoryEntry> history;

  // JSON text as OCI defines it; byte-identical for equal configs.
  std::string ToJson() const;
};

// The NAME of an entry of ImageConfig::env, all of it if there is no value.
inline std::string_view EnvName(std::string_view entry) { return entry.substr(0, entry.find('=')); }

// Reads OCI and docker image configurations; unknown fields are ignored. EINVAL with the reason.
Result<ImageConfig> ParseImageConfig(std::string_view json);

// An image of docker before 1.10: one JSON file a layer, linked by parent ids.
// https://github.com/moby/docker-image-spec/blob/main/v1.1.md
struct LegacyImage {
  ImageConfig config;  // without diff_ids
  std::string parent;  // id of the layer below, "" at the base

  // `id` is that of its own layer.
  std::string ToJson(const std::string& id) const;
};
Result<LegacyImage> ParseLegacyImage(std::string_view json);

// ChainID of the first `diff_ids.size()` layers, base first
// (https://github.com/opencontainers/image-spec/blob/main/config.md#layer-chainid).
// Empty input gives the empty digest.
Digest ChainId(std::span<const Digest> diff_ids);
// The same of the first layer, of the first two, ... of all.
std::vector<Digest> ChainIds(std::span<const Digest> diff_ids);

}  // namespace strata::layerstore
