// POSIX ACLs in the form the kernel keeps them: the values of system.posix_acl_access and _default.
// linux/include/uapi/linux/posix_acl_xattr.h
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace strata::layerstore {

inline constexpr const char* kAclAccessXattr = "system.posix_acl_access";
inline constexpr const char* kAclDefaultXattr = "system.posix_acl_default";

struct AclEntry {
  // linux/posix_acl.h's ACL_* tags, in the order in which the kernel wants the entries.
  enum class Tag : std::uint16_t {
    kUserObj = 0x01,
    kUser = 0x02,
    kGroupObj = 0x04,
    kGroup = 0x08,
    kMask = 0x10,
    kOther = 0x20,
  };
  Tag tag = Tag::kUserObj;
  std::uint16_t permissions = 0;  // r 4, w 2, x 1
  std::uint32_t id = 0;           // kUser and kGroup only
};

// Sorts the entries, adds the mask that named entries need (the union of what it limits) where it
// is missing, and encodes them. Empty if there are none.
std::string EncodeAcl(std::vector<AclEntry> entries);

}  // namespace strata::layerstore
