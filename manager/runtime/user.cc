#include "manager/runtime/user.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <charconv>
#include <limits>
#include <optional>

#include "base/file_ops.h"
#include "base/try.h"

namespace strata::manager {
namespace {

constexpr std::size_t kFileMax = std::size_t{4} << 20U;

std::optional<std::uint32_t> ParseId(std::string_view text) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  // -1 means "leave as it is" to the kernel's calls.
  if (value == std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
  return value;
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

// The file's text; empty when there is none.
Result<std::string> ReadConfined(int root, const char* path) {
  FileOps& ops = FileOps::System();
  auto fd = ops.OpenConfined(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0,
                             RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
  if (!fd) {
    if (fd.error().code() == ENOENT || fd.error().code() == ENOTDIR) return std::string();
    return std::unexpected(std::move(fd).error().WithContext(path));
  }
  STRATA_TRY_ASSIGN(const struct stat st, ops.Stat(fd->get()));
  if (!S_ISREG(st.st_mode)) {
    return Fail(EINVAL, "resolve user", std::string(path) + " is not a regular file");
  }
  auto text = ReadAll(ops, fd->get(), kFileMax);
  if (!text) return std::unexpected(std::move(text).error().WithContext(path));
  return text;
}

struct PasswdEntry {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  std::string home;
};

// The first entry whose name or number is `who`, passwd(5).
std::optional<PasswdEntry> FindUser(std::string_view passwd, std::string_view who) {
  const std::optional<std::uint32_t> number = ParseId(who);
  for (const std::string_view line : Split(passwd, '\n')) {
    const auto fields = Split(line, ':');
    if (fields.size() < 6) continue;
    const auto uid = ParseId(fields[2]);
    const auto gid = ParseId(fields[3]);
    if (!uid || !gid) continue;
    if (fields[0] == who || (number && *uid == *number)) {
      return PasswdEntry{std::string(fields[0]), *uid, *gid, std::string(fields[5])};
    }
  }
  return std::nullopt;
}

Result<gid_t> FindGroup(std::string_view groups, std::string_view who) {
  for (const std::string_view line : Split(groups, '\n')) {
    const auto fields = Split(line, ':');
    if (fields.size() < 3 || fields[0] != who) continue;
    if (const auto gid = ParseId(fields[2])) return *gid;
  }
  if (const auto number = ParseId(who)) return *number;
  return Fail(EINVAL, "resolve user",
              "unable to find group " + std::string(who) + ": no matching entries in group file");
}

std::vector<gid_t> GroupsOf(std::string_view groups, std::string_view user) {
  std::vector<gid_t> gids;
  for (const std::string_view line : Split(groups, '\n')) {
    const auto fields = Split(line, ':');
    if (fields.size() < 4) continue;
    for (const std::string_view member : Split(fields[3], ',')) {
      if (member != user) continue;
      if (const auto gid = ParseId(fields[2])) gids.push_back(*gid);
    }
  }
  return gids;
}

}  // namespace

Result<ContainerUser> ResolveUser(int root, std::string_view text,
                                  const std::vector<std::string>& extra_groups) {
  STRATA_TRY_ASSIGN(const std::string passwd, ReadConfined(root, "/etc/passwd"));
  STRATA_TRY_ASSIGN(const std::string groups, ReadConfined(root, "/etc/group"));

  const std::size_t colon = text.find(':');
  const std::string_view who = colon == std::string_view::npos ? text : text.substr(0, colon);
  const std::string_view group =
      colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);

  ContainerUser user;
  const auto entry = FindUser(passwd, who.empty() ? "0" : who);
  if (entry) {
    user.uid = entry->uid;
    user.gid = entry->gid;
    user.home = entry->home.empty() ? "/" : entry->home;
    if (group.empty()) user.additional_gids = GroupsOf(groups, entry->name);
  } else if (const auto number = ParseId(who)) {
    user.uid = *number;
  } else if (!who.empty()) {
    return Fail(EINVAL, "resolve user",
                "unable to find user " + std::string(who) + ": no matching entries in passwd file");
  }
  if (!group.empty()) {
    STRATA_TRY_ASSIGN(user.gid, FindGroup(groups, group));
  }
  for (const auto& extra : extra_groups) {
    STRATA_TRY_ASSIGN(const gid_t gid, FindGroup(groups, extra));
    user.additional_gids.push_back(gid);
  }
  return user;
}

}  // namespace strata::manager
