#include "tests/support/xattrs.h"

#include <linux/capability.h>
#include <sys/xattr.h>

#include <vector>

#include "base/try.h"

namespace strata::support {
namespace {

void AppendLittleEndian(std::string& out, unsigned value, int bytes) {
  for (int i = 0; i < bytes; ++i) {
    out += static_cast<char>(i < 4 ? (value >> (8 * i)) & 0xff : 0);
  }
}

}  // namespace

Result<std::string> GetXattr(const std::string& path, const std::string& name) {
  char small[1024];
  ssize_t n = ::lgetxattr(path.c_str(), name.c_str(), small, sizeof(small));
  if (n >= 0) return std::string(small, static_cast<std::size_t>(n));
  if (errno != ERANGE) return FailErrno("lgetxattr");
  std::string value(65536, '\0');
  n = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
  if (n < 0) return FailErrno("lgetxattr", path);
  value.resize(static_cast<std::size_t>(n));
  return value;
}

Result<> SetXattr(const std::string& path, const std::string& name, const std::string& value) {
  if (::lsetxattr(path.c_str(), name.c_str(), value.data(), value.size(), 0) != 0) {
    return FailErrno("lsetxattr", path + " " + name);
  }
  return {};
}

Result<Xattrs> ReadXattrs(const std::string& path) {
  std::vector<char> names(4096);
  ssize_t n = ::llistxattr(path.c_str(), names.data(), names.size());
  if (n < 0 && errno == ERANGE) {
    names.resize(65536);
    n = ::llistxattr(path.c_str(), names.data(), names.size());
  }
  if (n < 0) {
    if (errno == EOPNOTSUPP) return Xattrs{};
    return FailErrno("llistxattr", path);
  }
  Xattrs xattrs;
  for (const char* name = names.data(); name < names.data() + n;) {
    const std::string key(name);
    STRATA_TRY_ASSIGN(std::string value, GetXattr(path, key));
    xattrs.emplace(key, std::move(value));
    name += key.size() + 1;
  }
  return xattrs;
}

std::string EncodeAcl(std::initializer_list<AclEntry> entries) {
  std::string value;
  AppendLittleEndian(value, 2, 4);  // POSIX_ACL_XATTR_VERSION
  for (const AclEntry& entry : entries) {
    AppendLittleEndian(value, entry.tag, 2);
    AppendLittleEndian(value, entry.perm, 2);
    AppendLittleEndian(value, entry.id, 4);
  }
  return value;
}

std::string EncodeCapability(unsigned permitted) {
  std::string value;
  AppendLittleEndian(value, VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE, 4);
  AppendLittleEndian(value, permitted, 4);
  AppendLittleEndian(value, 0, 12);
  return value;
}

}  // namespace strata::support
