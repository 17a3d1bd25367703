// Extended attributes by path, never following a symbolic link at its end.
#pragma once

#include <map>
#include <string>

#include "base/error.h"

namespace strata::support {

using Xattrs = std::map<std::string, std::string>;

// All names and values; ENODATA races are not expected in tests.
Result<Xattrs> ReadXattrs(const std::string& path);
// ENODATA if there is none.
Result<std::string> GetXattr(const std::string& path, const std::string& name);
Result<> SetXattr(const std::string& path, const std::string& name, const std::string& value);

// One line of a POSIX ACL (acl(5)) in the xattr's binary form.
struct AclEntry {
  unsigned short
      tag;  // ACL_USER_OBJ 1, ACL_USER 2, ACL_GROUP_OBJ 4, ACL_GROUP 8, MASK 0x10, OTHER 0x20
  unsigned short perm;  // rwx
  unsigned id = ~0U;
};
// The value of system.posix_acl_access or system.posix_acl_default.
std::string EncodeAcl(std::initializer_list<AclEntry> entries);

// The value of security.capability (version 2, no root id) with these permitted capabilities.
std::string EncodeCapability(unsigned permitted);

}  // namespace strata::support
