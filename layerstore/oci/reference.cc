#include "layerstore/oci/reference.h"

#include <algorithm>

#include "base/try.h"
#include "base/utf8.h"

namespace strata::layerstore {
namespace {

constexpr std::string_view kDefaultPrefix = "library/";
constexpr std::string_view kLegacyRegistry = "index.docker.io";
constexpr std::size_t kImageIdDigits = 2 * Digest::kBytes;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
bool IsAlnum(char c) { return IsDigit(c) || IsLower(c) || IsUpper(c); }
bool IsHexLower(char c) { return IsDigit(c) || (c >= 'a' && c <= 'f'); }

std::unexpected<Error> Bad(std::string_view text, std::string_view why) {
  return Fail(EINVAL, "image reference", "'" + ShownText(text) + "': " + std::string(why));
}

// Length of the separator of path components at the start of `text`: ".", "_", "__" or dashes.
std::size_t SeparatorLength(std::string_view text) {
  if (text.starts_with("__")) return 2;
  if (text.starts_with('.') || text.starts_with('_')) return 1;
  return std::min(text.find_first_not_of('-'), text.size());
}

bool ValidPathComponent(std::string_view text) {
  for (bool first = true;; first = false) {
    if (!first) {
      if (text.empty()) return true;
      const std::size_t separator = SeparatorLength(text);
      if (separator == 0) return false;
      text.remove_prefix(separator);
    }
    const auto word_end =
        std::find_if_not(text.begin(), text.end(), [](char c) { return IsDigit(c) || IsLower(c); });
    if (word_end == text.begin()) return false;
    text.remove_prefix(static_cast<std::size_t>(word_end - text.begin()));
  }
}

bool ValidRepository(std::string_view text) {
  for (;;) {
    const std::size_t slash = text.find('/');
    if (!ValidPathComponent(text.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    text.remove_prefix(slash + 1);
  }
}

bool ValidHostLabel(std::string_view label) {
  return !label.empty() && label.front() != '-' && label.back() != '-' &&
         std::all_of(label.begin(), label.end(), [](char c) { return IsAlnum(c) || c == '-'; });
}

bool ValidPort(std::string_view port) {
  constexpr std::size_t kPortDigitsMax = 5;
  return !port.empty() && port.size() <= kPortDigitsMax &&
         std::all_of(port.begin(), port.end(), IsDigit);
}

bool ValidRegistry(std::string_view text) {
  std::string_view rest;
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos || close == 1) return false;
    const std::string_view address = text.substr(1, close - 1);
    const auto ipv6 = [](char c) {
      return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':';
    };
    if (!std::all_of(address.begin(), address.end(), ipv6)) return false;
    rest = text.substr(close + 1);
    return rest.empty() || (rest.front() == ':' && ValidPort(rest.substr(1)));
  }
  const std::size_t colon = text.find(':');
  if (colon != std::string_view::npos && !ValidPort(text.substr(colon + 1))) return false;
  rest = text.substr(0, colon);
  for (;;) {
    const std::size_t dot = rest.find('.');
    if (!ValidHostLabel(rest.substr(0, dot))) return false;
    if (dot == std::string_view::npos) return true;
    rest.remove_prefix(dot + 1);
  }
}

bool ValidTag(std::string_view tag) {
  if (tag.empty() || tag.size() > kTagMax) return false;
  if (!IsAlnum(tag.front()) && tag.front() != '_') return false;
  return std::all_of(tag.begin(), tag.end(),
                     [](char c) { return IsAlnum(c) || c == '_' || c == '.' || c == '-'; });
}

// Whether the part before the first '/' names a registry rather than a path component.
bool NamesRegistry(std::string_view first) {
  return first.find_first_of(".:") != std::string_view::npos || first == "localhost" ||
         std::any_of(first.begin(), first.end(), IsUpper);
}

}  // namespace

Result<Reference> Reference::Parse(std::string_view text) {
  if (text.empty()) return Bad(text, "is empty");
  std::string_view name = text;
  Reference reference;

  if (const std::size_t at = name.find('@'); at != std::string_view::npos) {
    auto digest = Digest::Parse(name.substr(at + 1));
    if (!digest) return Bad(text, "the part after '@' is not a sha256 digest");
    reference.digest_ = *digest;
    name = name.substr(0, at);
  }
  // A colon after the last slash starts the tag; one before it belongs to the registry's port.
  if (const std::size_t colon = name.rfind(':');
      colon != std::string_view::npos && name.find('/', colon) == std::string_view::npos) {
    const std::string_view tag = name.substr(colon + 1);
    if (!ValidTag(tag)) return Bad(text, "invalid tag");
    reference.tag_ = std::string(tag);
    name = name.substr(0, colon);
  }
  if (text.size() == kImageIdDigits && LooksLikeImageId(text)) {
    return Bad(text, "a repository can not be named by 64 hex digits");
  }

  const std::size_t slash = name.find('/');
  if (slash != std::string_view::npos && NamesRegistry(name.substr(0, slash))) {
    reference.registry_ = std::string(name.substr(0, slash));
    name.remove_prefix(slash + 1);
    if (!ValidRegistry(reference.registry_)) return Bad(text, "invalid registry name");
    if (reference.registry_ == kLegacyRegistry) reference.registry_ = std::string(kDefaultRegistry);
  } else {
    reference.registry_ = std::string(kDefaultRegistry);
  }
  if (std::any_of(name.begin(), name.end(), IsUpper)) {
    return Bad(text, "repository name must be lower case");
  }
  if (!ValidRepository(name)) return Bad(text, "invalid repository name");
  reference.repository_ = std::string(name);
  if (reference.registry_ == kDefaultRegistry && name.find('/') == std::string_view::npos) {
    reference.repository_.insert(0, kDefaultPrefix);
  }
  if (reference.Name().size() > kReferenceNameMax) return Bad(text, "name is too long");
  return reference;
}

Reference Reference::WithDefaultTag() const {
  Reference result = *this;
  if (!tag_ && !digest_) result.tag_ = std::string(kDefaultTag);
  return result;
}

Result<Reference> Reference::WithTag(std::string_view tag) const {
  if (!ValidTag(tag)) return Bad(tag, "invalid tag");
  Reference result = *this;
  result.tag_ = std::string(tag);
  result.digest_.reset();
  return result;
}

Reference Reference::WithDigest(const Digest& digest) const {
  Reference result = *this;
  result.tag_.reset();
  result.digest_ = digest;
  return result;
}

std::string Reference::FamiliarName() const {
  if (registry_ != kDefaultRegistry) return Name();
  const std::string_view repository = repository_;
  // "library/a/b" would not come back as itself without its prefix.
  if (repository.starts_with(kDefaultPrefix) &&
      repository.find('/', kDefaultPrefix.size()) == std::string_view::npos) {
    return std::string(repository.substr(kDefaultPrefix.size()));
  }
  return repository_;
}

std::string Reference::Suffix() const {
  std::string text;
  if (tag_) text += ':' + *tag_;
  if (digest_) text += '@' + digest_->ToString();
  return text;
}

bool LooksLikeImageId(std::string_view text) {
  return !text.empty() && text.size() <= kImageIdDigits &&
         std::all_of(text.begin(), text.end(), IsHexLower);
}

}  // namespace strata::layerstore
