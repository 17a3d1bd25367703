// Small steps that tests of mounted trees are made of. All throw (must.h) when they fail, unless
// they say that they return an errno.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"

namespace strata::support {

void MakeDir(const std::string& path, mode_t mode = 0755);
// Creates or replaces; the mode is set whatever the umask.
void WriteFile(const std::string& path, std::string_view content, mode_t mode = 0644);
std::string ReadFile(const std::string& path);
// Appends through a new descriptor.
void AppendFile(const std::string& path, std::string_view content);
void MakeWhiteout(const std::string& path);
UniqueFd OpenFile(const std::string& path, int flags, mode_t mode = 0644);
struct stat Lstat(const std::string& path);
bool Exists(const std::string& path);
// Sorted, without "." and "..".
std::vector<std::string> List(const std::string& path);
// Relative paths of everything below, sorted.
std::vector<std::string> ListAll(const std::string& path);

// The errno that a call leaving -1 gave, 0 for success: ErrnoOf(::mkdir(p, 0755)).
int ErrnoOf(long result);
// Runs `body` as another user (and group, without others) in a forked child and returns what it
// returns, at most 255: body is usually a call wrapped in ErrnoOf().
int AsUser(uid_t uid, const std::function<int()>& body);

}  // namespace strata::support
