// The calls that make, find and remove names.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <stdexcept>
#include <vector>

#include "tests/conformance/posix/machine.h"

namespace strata::conformance {
namespace {

using Words = std::span<const std::string>;

mode_t Mode(const std::string& word) { return static_cast<mode_t>(ParseNumber(word)); }

std::string MakeDir(Machine& m, Words w) {
  const auto at = m.At(w[0]);
  return Outcome(::mkdirat(at.directory, at.path, w.size() > 1 ? Mode(w[1]) : 0755));
}

// mknod PATH fifo|socket|file|char:MAJOR:MINOR|block:MAJOR:MINOR MODE
std::string MakeNode(Machine& m, Words w) {
  const auto at = m.At(w[0]);
  const std::size_t colon = std::min(w[1].find(':'), w[1].size());
  const std::string kind = w[1].substr(0, colon);
  dev_t device = 0;
  if (colon < w[1].size()) {
    const std::size_t second = w[1].find(':', colon + 1);
    device = makedev(static_cast<unsigned>(ParseNumber(w[1].substr(colon + 1, second - colon - 1))),
                     static_cast<unsigned>(ParseNumber(w[1].substr(second + 1))));
  }
  constexpr Flag kTypes[] = {{"fifo", S_IFIFO},   {"socket", S_IFSOCK}, {"file", S_IFREG},
                             {"char", S_IFCHR},   {"block", S_IFBLK},   {"dir", S_IFDIR},
                             {"symlink", S_IFLNK}};
  return Outcome(::mknodat(at.directory, at.path, ParseFlags(kind, kTypes) | Mode(w[2]), device));
}

// link OLD NEW [follow]
std::string Link(Machine& m, Words w) {
  const auto from = m.At(w[0]);
  const auto to = m.At(w[1]);
  return Outcome(::linkat(from.directory, from.path, to.directory, to.path,
                          w.size() > 2 ? AT_SYMLINK_FOLLOW : 0));
}

// linkfd SLOT NEW: a name for an open file
std::string LinkFd(Machine& m, Words w) {
  const auto to = m.At(w[1]);
  const std::string from = "/proc/self/fd/" + std::to_string(m.Fd(w[0]));
  return Outcome(::linkat(AT_FDCWD, from.c_str(), to.directory, to.path, AT_SYMLINK_FOLLOW));
}

std::string SymLink(Machine& m, Words w) {
  const std::string target = w[0] == "\"\"" ? "" : Machine::Expanded(w[0]);
  const auto at = m.At(w[1]);
  return Outcome(::symlinkat(target.c_str(), at.directory, at.path));
}

std::string Unlink(Machine& m, Words w) {
  const auto at = m.At(w[0]);
  return Outcome(::unlinkat(at.directory, at.path, 0));
}

std::string RemoveDir(Machine& m, Words w) {
  const auto at = m.At(w[0]);
  return Outcome(::unlinkat(at.directory, at.path, AT_REMOVEDIR));
}

// rename OLD NEW [noreplace|exchange|whiteout|NUMBER]
std::string Rename(Machine& m, Words w) {
  constexpr Flag kFlags[] = {{"noreplace", RENAME_NOREPLACE},
                             {"exchange", RENAME_EXCHANGE},
                             {"whiteout", RENAME_WHITEOUT}};
  const auto from = m.At(w[0]);
  const auto to = m.At(w[1]);
  return Outcome(::renameat2(from.directory, from.path, to.directory, to.path,
                             w.size() > 2 ? ParseFlags(w[2], kFlags) : 0));
}

// readlink PATH [SIZE]
std::string ReadLink(Machine& m, Words w) {
  const auto at = m.At(w[0]);
  std::string target(w.size() > 1 ? static_cast<std::size_t>(ParseNumber(w[1])) : PATH_MAX, '\0');
  const ssize_t n = ::readlinkat(at.directory, at.path, target.data(), target.size());
  return n < 0 ? ErrnoName(errno) : Shortened(target.substr(0, static_cast<std::size_t>(n)));
}

char TypeLetter(unsigned char type) {
  switch (type) {
    case DT_DIR:
      return '/';
    case DT_LNK:
      return '@';
    case DT_FIFO:
      return '|';
    case DT_SOCK:
      return '=';
    case DT_CHR:
      return '%';
    case DT_BLK:
      return '#';
    case DT_REG:
      return ' ';
    default:
      return '?';
  }
}

std::string Joined(std::vector<std::string> names) {
  std::ranges::sort(names);
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : " ") + name;
  return text.empty() ? "nothing" : text;
}

std::vector<std::string> NamesFrom(DIR* dir) {
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(dir)) {
    std::string name = Shortened(entry->d_name);
    if (const char letter = TypeLetter(entry->d_type); letter != ' ') name += letter;
    names.push_back(name);
  }
  return names;
}

// ls PATH: all names with a letter for the type, "." and ".." too
std::string ListNames(Machine& m, Words w) {
  const auto at = m.At(w[0]);
  const int fd = ::openat(at.directory, at.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* dir = fd < 0 ? nullptr : ::fdopendir(fd);
  if (dir == nullptr) return ErrnoName(errno);
  auto names = NamesFrom(dir);
  const int code = errno;
  ::closedir(dir);
  return code != 0 ? ErrnoName(code) : Joined(std::move(names));
}

DIR* Directory(Machine& m, const std::string& slot) {
  const auto found = m.directories.find(slot);
  if (found == m.directories.end()) throw std::invalid_argument("no directory '" + slot + "'");
  return found->second;
}

std::string OpenDir(Machine& m, Words w) {
  const auto at = m.At(w[1]);
  const int fd = ::openat(at.directory, at.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return ErrnoName(errno);
  m.directories[w[0]] = ::fdopendir(fd);
  return "ok";
}

// readdir SLOT [N]: how many of the next N names there were; without N the rest, by name
std::string ReadDir(Machine& m, Words w) {
  DIR* dir = Directory(m, w[0]);
  if (w.size() == 1) return Joined(NamesFrom(dir));
  long count = 0;
  while (count < ParseNumber(w[1]) && ::readdir(dir) != nullptr) ++count;
  return std::to_string(count);
}

std::string RewindDir(Machine& m, Words w) {
  ::rewinddir(Directory(m, w[0]));
  return "ok";
}

// seekall SLOT: goes to each position telldir(3) gave, the last first, and finds the same name
// there
std::string SeekAll(Machine& m, Words w) {
  DIR* dir = Directory(m, w[0]);
  ::rewinddir(dir);
  std::vector<std::pair<long, std::string>> names;
  for (long at = ::telldir(dir);; at = ::telldir(dir)) {
    const dirent* entry = ::readdir(dir);
    if (entry == nullptr) break;
    names.emplace_back(at, entry->d_name);
  }
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    ::seekdir(dir, name->first);
    const dirent* entry = ::readdir(dir);
    if (entry == nullptr || name->second != entry->d_name) return "lost " + name->second;
  }
  return std::to_string(names.size());
}

std::string CloseDir(Machine& m, Words w) {
  DIR* dir = Directory(m, w[0]);
  m.directories.erase(w[0]);
  return Outcome(::closedir(dir));
}

// same A B: are two names one file?
std::string Same(Machine& m, Words w) {
  struct stat a, b;
  const auto left = m.At(w[0]);
  const auto right = m.At(w[1]);
  if (::fstatat(left.directory, left.path, &a, AT_SYMLINK_NOFOLLOW) != 0 ||
      ::fstatat(right.directory, right.path, &b, AT_SYMLINK_NOFOLLOW) != 0) {
    return ErrnoName(errno);
  }
  return a.st_ino == b.st_ino && a.st_dev == b.st_dev ? "same" : "different";
}

// many DIR N: N empty files
std::string Many(Machine&, Words w) {
  for (long long i = 0; i < ParseNumber(w[1]); ++i) {
    const std::string path = w[0] + "/file-" + std::to_string(i);
    const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0) return ErrnoName(errno);
    ::close(fd);
  }
  return "ok";
}

constexpr CallRow kCalls[] = {
    {"mkdir", 1, 2, MakeDir},       {"mknod", 3, 3, MakeNode},  {"link", 2, 3, Link},
    {"linkfd", 2, 2, LinkFd},       {"symlink", 2, 2, SymLink}, {"unlink", 1, 1, Unlink},
    {"rmdir", 1, 1, RemoveDir},     {"rename", 2, 3, Rename},   {"readlink", 1, 2, ReadLink},
    {"ls", 1, 1, ListNames},        {"opendir", 2, 2, OpenDir}, {"readdir", 1, 2, ReadDir},
    {"rewinddir", 1, 1, RewindDir}, {"seekall", 1, 1, SeekAll}, {"closedir", 1, 1, CloseDir},
    {"same", 2, 2, Same},           {"many", 2, 2, Many},
};

}  // namespace

std::span<const CallRow> NameCalls() { return kCalls; }

}  // namespace strata::conformance
