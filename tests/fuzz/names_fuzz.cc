// Names: of entries and whiteouts, as errors show them, and of images.
#include "base/path.h"
#include "layerstore/archive/entry_path.h"
#include "layerstore/index/marks.h"
#include "layerstore/oci/reference.h"
#include "tests/fuzz/target.h"

namespace strata::fuzz {
namespace {

using layerstore::EntryName;
using layerstore::Reference;

bool IsPlain(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) return false;
  }
  return true;
}

void TryEntryName(const std::string& path) {
  const auto name = layerstore::ClassifyEntryName(path);
  if (!name) return;
  Expect(JoinPath(name->directory, name->name) == path, "a path is its directory and its name");
  if (name->kind == EntryName::Kind::kWhiteout) {
    Expect(PathComponent::Valid(name->target), "a whiteout hides a name");
    Expect(name->name == std::string(layerstore::kWhiteoutPrefix) + std::string(name->target),
           "a whiteout says what it hides");
  }
  if (name->kind != EntryName::Kind::kIgnored) {
    Expect(("/" + std::string(name->directory)).find("/.wh.") == std::string::npos,
           "no whiteout is a directory");
  }
}

void TryPath(std::string_view input) {
  const auto path = layerstore::NormalizeEntryPath(input, {});
  if (!path) return;
  const auto again = path->empty() ? Result<std::string>(std::string())
                                   : layerstore::NormalizeEntryPath(*path, {});
  Expect(again && *again == *path, "a normalised path stays as it is");
  for (std::string_view rest = *path; !rest.empty();) {
    const std::size_t slash = rest.find('/');
    Expect(PathComponent::Valid(rest.substr(0, slash)), "it is made of names");
    rest.remove_prefix(slash == std::string_view::npos ? rest.size() : slash + 1);
  }
  TryEntryName(*path);
}

void TryReference(std::string_view input) {
  const auto reference = Reference::Parse(input);
  if (!reference) {
    Expect(IsPlain(reference.error().ToString()), "an error can be shown");
    return;
  }
  const auto again = Reference::Parse(reference->ToString());
  Expect(again && again->ToString() == reference->ToString(), "a reference is read back");
  Expect(IsPlain(reference->ToString()), "a reference can be shown");
}

}  // namespace

void Repair(std::string&) {}

void TryInput(std::string_view input) {
  Expect(IsPlain(layerstore::ShownName(input)), "a shown name has no control characters");
  TryPath(input);
  TryReference(input);
}

std::vector<Input> Seeds() {
  return {{"plain", "usr/bin/env"},
          {"dots", "./a/../b//c/."},
          {"out", "a/../../b"},
          {"absolute", "/etc/passwd"},
          {"whiteout", "d/.wh.name"},
          {"whiteout-nothing", "d/.wh."},
          {"whiteout-dots", "d/.wh..."},
          {"whiteout-directory", ".wh.d/f"},
          {"opaque", "d/.wh..wh..opq"},
          {"aufs", ".wh..wh.plnk/x"},
          {"long", std::string(255, 'n') + "/.wh." + std::string(251, 'w')},
          {"bytes", "\xff\xfe/\x1b[31m"},
          {"image", "debian"},
          {"image-full", "registry.example.com:5000/me/app:1.0"},
          {"image-digest", "app@sha256:" + std::string(64, 'a')},
          {"image-ipv6", "[::1]:5000/x:y"}};
}

}  // namespace strata::fuzz
