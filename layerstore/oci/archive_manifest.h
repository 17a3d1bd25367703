// The JSON files that tell what is in an image archive: docker-archive's manifest.json and its
// predecessor `repositories`, and an OCI layout's version file.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace strata::layerstore {

// Most images of one archive, and names of one image, that are accepted.
inline constexpr std::size_t kArchiveImagesMax = 1000;
inline constexpr std::size_t kArchiveNamesMax = 1000;

// One image of manifest.json; the strings are names of members of the archive.
struct DockerArchiveImage {
  std::string config;
  std::vector<std::string> repo_tags;  // "debian:12"
  std::vector<std::string> layers;     // base first
};
// EINVAL beyond the limits above, or kLayersMax.
// https://github.com/moby/docker-image-spec/blob/main/v1.2.md#combined-image-json--filesystem-changeset-format
Result<std::vector<DockerArchiveImage>> ParseDockerArchiveManifest(std::string_view json);
std::string DockerArchiveManifestJson(std::span<const DockerArchiveImage> images);

// One line of `repositories`: a name and the id of the topmost layer.
struct LegacyRepositoryTag {
  std::string name;  // "debian:12"
  std::string layer;
};
// EINVAL for more than kArchiveNamesMax of them.
Result<std::vector<LegacyRepositoryTag>> ParseLegacyRepositories(std::string_view json);
std::string LegacyRepositoriesJson(std::span<const LegacyRepositoryTag> tags);

// Checks an `oci-layout` file: EINVAL, or ENOTSUP for a version other than 1.x.
// https://github.com/opencontainers/image-spec/blob/main/image-layout.md#oci-layout-file
Result<> CheckOciLayout(std::string_view json);
std::string OciLayoutJson();

}  // namespace strata::layerstore
