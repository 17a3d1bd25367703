#include "layerstore/archive/entry_path.h"

#include "base/path.h"
#include "base/try.h"
#include "base/utf8.h"

namespace strata::layerstore {
std::string ShownName(std::string_view name) { return ShownText(name); }

Result<std::string> NormalizeEntryPath(std::string_view raw, const UnpackLimits& limits) {
  if (raw.empty()) return Fail(EINVAL, "unpack", "an entry without a name");
  if (raw.size() > limits.path_bytes) {
    return OverLimit(limits, "unpack", "path-bytes", limits.path_bytes, "bytes of path");
  }
  std::string path;
  path.reserve(raw.size());
  std::uint32_t depth = 0;
  for (std::string_view rest = raw; !rest.empty();) {
    const std::size_t slash = rest.find('/');
    const std::string_view component = rest.substr(0, slash);
    rest.remove_prefix(slash == std::string_view::npos ? rest.size() : slash + 1);
    if (component.empty() || component == ".") continue;
    if (component == "..") {
      if (path.empty()) return Fail(EINVAL, "unpack", "path leads out of the layer");
      path.resize(DirName(path).size());
      --depth;
      continue;
    }
    if (component.size() > kNameMax) {
      return Fail(ENAMETOOLONG, "unpack",
                  "a name is longer than " + std::to_string(kNameMax) + " bytes");
    }
    if (!PathComponent::Valid(component)) return Fail(EINVAL, "unpack", "invalid name");
    if (++depth > limits.path_depth) {
      return OverLimit(limits, "unpack", "path-depth", limits.path_depth, "directories deep");
    }
    // In place: a new string for each component would take time by the square of the length.
    if (!path.empty()) path += '/';
    path += component;
  }
  return path;
}

Result<EntryName> ClassifyEntryName(std::string_view path) {
  EntryName entry;
  entry.directory = DirName(path);
  entry.name = BaseName(path);
  for (std::string_view rest = entry.directory; !rest.empty();) {
    const std::size_t slash = rest.find('/');
    const std::string_view component = rest.substr(0, slash);
    rest.remove_prefix(slash == std::string_view::npos ? rest.size() : slash + 1);
    if (component.starts_with(kReservedPrefix)) {
      entry.kind = EntryName::Kind::kIgnored;
      return entry;
    }
    if (component.starts_with(kWhiteoutPrefix)) {
      return Fail(EINVAL, "unpack", "a directory has a whiteout's name");
    }
  }
  if (!entry.name.starts_with(kWhiteoutPrefix)) return entry;
  if (entry.name == kOpaqueMarker) {
    entry.kind = EntryName::Kind::kOpaque;
  } else if (entry.name.starts_with(kReservedPrefix)) {
    entry.kind = EntryName::Kind::kIgnored;
  } else {
    entry.kind = EntryName::Kind::kWhiteout;
    entry.target = entry.name.substr(kWhiteoutPrefix.size());
    if (!PathComponent::Valid(entry.target)) {
      return Fail(EINVAL, "unpack", "a whiteout of nothing");
    }
  }
  return entry;
}

}  // namespace strata::layerstore
