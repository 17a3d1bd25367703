#include "layerstore/archive/posix_acl.h"

#include <algorithm>
#include <tuple>

namespace strata::layerstore {
namespace {

constexpr std::uint32_t kVersion = 2;
constexpr std::uint32_t kUndefinedId = 0xFFFFFFFFU;

void AppendLittleEndian(std::string& out, std::uint32_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>((value >> (8 * i)) & 0xFFU));
}

bool Named(const AclEntry& entry) {
  return entry.tag == AclEntry::Tag::kUser || entry.tag == AclEntry::Tag::kGroup;
}

}  // namespace

std::string EncodeAcl(std::vector<AclEntry> entries) {
  if (entries.empty()) return {};
  const bool named = std::any_of(entries.begin(), entries.end(), Named);
  const bool masked = std::any_of(entries.begin(), entries.end(), [](const AclEntry& entry) {
    return entry.tag == AclEntry::Tag::kMask;
  });
  if (named && !masked) {
    AclEntry mask{AclEntry::Tag::kMask, 0, 0};
    for (const AclEntry& entry : entries) {
      if (Named(entry) || entry.tag == AclEntry::Tag::kGroupObj) {
        mask.permissions = static_cast<std::uint16_t>(mask.permissions | entry.permissions);
      }
    }
    entries.push_back(mask);
  }
  std::sort(entries.begin(), entries.end(), [](const AclEntry& a, const AclEntry& b) {
    return std::tie(a.tag, a.id) < std::tie(b.tag, b.id);
  });
  std::string out;
  AppendLittleEndian(out, kVersion, 4);
  for (const AclEntry& entry : entries) {
    AppendLittleEndian(out, static_cast<std::uint16_t>(entry.tag), 2);
    AppendLittleEndian(out, entry.permissions, 2);
    AppendLittleEndian(out, Named(entry) ? entry.id : kUndefinedId, 4);
  }
  return out;
}

}  // namespace strata::layerstore
