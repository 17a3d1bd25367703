// Image references as docker writes them: [registry/]repository[:tag][@digest], with docker's
// rules for what a missing registry, "library/" and a missing tag mean.
// Grammar: https://github.com/distribution/reference/blob/main/reference.go
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>

#include "base/digest.h"
#include "base/error.h"

namespace strata::layerstore {

inline constexpr std::string_view kDefaultRegistry = "docker.io";
inline constexpr std::string_view kDefaultTag = "latest";
// Longest registry + '/' + repository, and longest tag, in bytes.
inline constexpr std::size_t kReferenceNameMax = 255;
inline constexpr std::size_t kTagMax = 128;

// A parsed and normalised reference. Value type; ordered by its canonical text.
//   "debian"                 -> docker.io / library/debian        (no tag)
//   "me/app:1"               -> docker.io / me/app       : 1
//   "localhost:5000/x"       -> localhost:5000 / x
//   "index.docker.io/debian" -> docker.io / library/debian
class Reference {
 public:
  // EINVAL with the reason in the detail. A bare image id (64 hex digits) is not a reference.
  static Result<Reference> Parse(std::string_view text);

  // "docker.io", "localhost:5000", "[::1]:5000"; never empty.
  const std::string& registry() const { return registry_; }
  // The path within the registry, "library/debian"; never empty.
  const std::string& repository() const { return repository_; }
  const std::optional<std::string>& tag() const { return tag_; }
  const std::optional<Digest>& digest() const { return digest_; }

  // The same with tag "latest" where it has neither tag nor digest.
  Reference WithDefaultTag() const;
  // The same name with this tag and no digest; EINVAL for a tag that is none.
  Result<Reference> WithTag(std::string_view tag) const;
  // The same name with this digest and no tag.
  Reference WithDigest(const Digest& digest) const;

  // registry/repository, e.g. "docker.io/library/debian".
  std::string Name() const { return registry_ + '/' + repository_; }
  // The name as people write it: without "docker.io/" and "library/".
  std::string FamiliarName() const;
  // Canonical text, parses to the same reference: "docker.io/library/debian:12@sha256:...".
  std::string ToString() const { return Name() + Suffix(); }
  // As docker shows it: "debian:12".
  std::string Familiar() const { return FamiliarName() + Suffix(); }

  auto operator<=>(const Reference&) const = default;

 private:
  Reference() = default;
  std::string Suffix() const;

  std::string registry_;
  std::string repository_;
  std::optional<std::string> tag_;
  std::optional<Digest> digest_;
};

// Whether `text` can be (the start of) an image id in hex: 1 to 64 lower-case hex digits.
bool LooksLikeImageId(std::string_view text);

}  // namespace strata::layerstore
