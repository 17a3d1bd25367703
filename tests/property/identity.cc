#include "tests/property/identity.h"

#include <fcntl.h>

namespace strata::property {

std::optional<Identity> IdentityOf(int dir, const std::string& path, bool follow) {
  struct statx st;
  const int flags = (follow ? 0 : AT_SYMLINK_NOFOLLOW) | (path.empty() ? AT_EMPTY_PATH : 0);
  if (::statx(dir, path.c_str(), flags, STATX_INO | STATX_BTIME, &st) != 0) return std::nullopt;
  return Identity{st.stx_ino, st.stx_btime.tv_sec * 1'000'000'000 + st.stx_btime.tv_nsec};
}

std::string InodeBook::Check(const Identity& identity, ino_t union_ino) {
  const auto [entry, fresh] = seen_.emplace(identity, union_ino);
  if (fresh || entry->second == union_ino) return "";
  return "st_ino changed from " + std::to_string(entry->second) + " to " +
         std::to_string(union_ino);
}

}  // namespace strata::property
