// The calls that read and change attributes, extended attributes and ACLs.
#include <fcntl.h>
#include <linux/stat.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <sstream>
#include <stdexcept>

#include "tests/conformance/posix/machine.h"

namespace strata::conformance {
namespace {

using Words = std::span<const std::string>;

mode_t Mode(const std::string& word) { return static_cast<mode_t>(ParseNumber(word)); }
// -1 leaves the owner as it is.
uid_t Id(const std::string& word) { return static_cast<uid_t>(ParseNumber(word)); }

std::string Described(int result, const struct stat& st) {
  return result != 0 ? ErrnoName(errno) : conformance::Described(st);
}

template <int kFlags>
std::string Stat(Machine& m, Words w) {
  const auto at = m.At(w[0]);
  struct stat st = {};
  return Described(::fstatat(at.directory, at.path, &st, kFlags), st);
}

std::string FdStat(Machine& m, Words w) {
  struct stat st = {};
  return Described(::fstat(m.Fd(w[0]), &st), st);
}

std::string DeviceNumber(Machine& m, Words w) {
  const auto at = m.At(w[0]);
  struct stat st = {};
  if (::fstatat(at.directory, at.path, &st, AT_SYMLINK_NOFOLLOW) != 0) return ErrnoName(errno);
  return std::to_string(st.st_rdev);
}

// times PATH: both as seconds and nanoseconds; for those a case has set itself
std::string Times(Machine& m, Words w) {
  const auto at = m.At(w[0]);
  struct stat st = {};
  if (::fstatat(at.directory, at.path, &st, AT_SYMLINK_NOFOLLOW) != 0) return ErrnoName(errno);
  std::ostringstream out;
  out << st.st_atim.tv_sec << '.' << st.st_atim.tv_nsec << ' ' << st.st_mtim.tv_sec << '.'
      << st.st_mtim.tv_nsec;
  return out.str();
}

// atime PATH, mtime PATH: whether it is one that a case has set, long ago, or new
template <struct timespec stat::* kTime>
std::string Age(Machine& m, Words w) {
  constexpr time_t kLongAgo = 1'000'000'000;
  const auto at = m.At(w[0]);
  struct stat st = {};
  if (::fstatat(at.directory, at.path, &st, AT_SYMLINK_NOFOLLOW) != 0) return ErrnoName(errno);
  return (st.*kTime).tv_sec < kLongAgo ? "as set" : "new";
}

// birth PATH: whether there is a time of birth, and not a later one than that of the last change
std::string Birth(Machine& m, Words w) {
  const auto at = m.At(w[0]);
  struct ::statx stx = {};
  if (::statx(at.directory, at.path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &stx) !=
      0) {
    return ErrnoName(errno);
  }
  if ((stx.stx_mask & STATX_BTIME) == 0) return "none";
  return stx.stx_btime.tv_sec > 0 && stx.stx_btime.tv_sec <= stx.stx_ctime.tv_sec ? "sane"
                                                                                  : "wrong";
}

// statx PATH FLAGS MASK
std::string Statx(Machine& m, Words w) {
  constexpr Flag kFlags[] = {{"nofollow", AT_SYMLINK_NOFOLLOW},
                             {"empty", AT_EMPTY_PATH},
                             {"sync", AT_STATX_FORCE_SYNC},
                             {"dont-sync", AT_STATX_DONT_SYNC},
                             {"none", 0},
                             {"bad", 0x80000000U}};
  constexpr Flag kMasks[] = {{"basic", STATX_BASIC_STATS},
                             {"size", STATX_SIZE},
                             {"all", STATX_BASIC_STATS | STATX_BTIME},
                             {"reserved", 0x80000000U}};
  const auto at = m.At(w[0]);
  struct ::statx stx = {};
  if (::statx(at.directory, at.path, static_cast<int>(ParseFlags(w[1], kFlags)),
              ParseFlags(w[2], kMasks), &stx) != 0) {
    return ErrnoName(errno);
  }
  const unsigned wanted = ParseFlags(w[2], kMasks) & STATX_BASIC_STATS;
  return std::string((stx.stx_mask & wanted) == wanted ? "all" : "less") +
         " size=" + (S_ISDIR(stx.stx_mode) ? "any" : std::to_string(stx.stx_size));
}

std::string Chmod(Machine& m, Words w) {
  const auto at = m.At(w[0]);
  return Outcome(::fchmodat(at.directory, at.path, Mode(w[1]), 0));
}

std::string LinkChmod(Machine& m, Words w) {
  const auto at = m.At(w[0]);
  constexpr long kFchmodat2 = 452;
  return Outcome(::syscall(kFchmodat2, at.directory, at.path, Mode(w[1]), AT_SYMLINK_NOFOLLOW));
}

std::string FdChmod(Machine& m, Words w) { return Outcome(::fchmod(m.Fd(w[0]), Mode(w[1]))); }

template <int kFlags>
std::string Chown(Machine& m, Words w) {
  const auto at = m.At(w[0]);
  return Outcome(::fchownat(at.directory, at.path, Id(w[1]), Id(w[2]), kFlags));
}

std::string FdChown(Machine& m, Words w) {
  return Outcome(::fchown(m.Fd(w[0]), Id(w[1]), Id(w[2])));
}

// now, omit, bad, or SECONDS[.NANOSECONDS]
struct timespec Moment(const std::string& word) {
  if (word == "now") return {0, UTIME_NOW};
  if (word == "omit") return {0, UTIME_OMIT};
  if (word == "bad") return {0, 1'000'000'000};
  const std::size_t dot = std::min(word.find('.'), word.size());
  struct timespec time = {ParseNumber(word.substr(0, dot)), 0};
  if (dot < word.size()) time.tv_nsec = ParseNumber(word.substr(dot + 1));
  return time;
}

// utimes PATH [ATIME MTIME]; without times both are now, through a null pointer
template <int kFlags>
std::string SetTimes(Machine& m, Words w) {
  const auto at = m.At(w[0]);
  if (w.size() == 1) return Outcome(::utimensat(at.directory, at.path, nullptr, kFlags));
  const struct timespec times[2] = {Moment(w[1]), Moment(w.back())};
  return Outcome(::utimensat(at.directory, at.path, times, kFlags));
}

std::string FdSetTimes(Machine& m, Words w) {
  const struct timespec times[2] = {Moment(w[1]), Moment(w[2])};
  return Outcome(::futimens(m.Fd(w[0]), times));
}

// access PATH f|r|w|x... [effective]
std::string Access(Machine& m, Words w) {
  constexpr std::pair<char, int> kModes[] = {{'r', R_OK}, {'w', W_OK}, {'x', X_OK}, {'?', 64}};
  int mode = F_OK;
  for (const auto& [letter, bit] : kModes) {
    if (w[1].find(letter) != std::string::npos) mode |= bit;
  }
  const auto at = m.At(w[0]);
  return Outcome(::faccessat(at.directory, at.path, mode, w.size() > 2 ? AT_EACCESS : 0));
}

std::string StatFs(Machine& m, Words w) {
  struct statvfs info = {};
  const auto at = m.At(w[0]);
  if (::statvfs(at.path, &info) != 0) return ErrnoName(errno);
  std::ostringstream out;
  out << "name-max=" << info.f_namemax << " block=" << info.f_frsize << " sane="
      << (info.f_blocks >= info.f_bfree && info.f_bfree >= info.f_bavail ? "yes" : "no");
  return out.str();
}

// --- extended attributes

int XattrFlags(Words w, std::size_t index) {
  constexpr Flag kFlags[] = {{"create", XATTR_CREATE}, {"replace", XATTR_REPLACE}};
  return w.size() > index ? static_cast<int>(ParseFlags(w[index], kFlags)) : 0;
}

std::string Value(const std::string& word) { return word == "\"\"" ? "" : Machine::Expanded(word); }

// setxattr PATH NAME VALUE [create|replace]
std::string SetXattr(Machine& m, Words w) {
  const std::string name = Machine::Expanded(w[1]);
  const std::string value = Value(w[2]);
  return Outcome(
      ::setxattr(m.At(w[0]).path, name.c_str(), value.data(), value.size(), XattrFlags(w, 3)));
}

std::string LinkSetXattr(Machine& m, Words w) {
  const std::string value = Value(w[2]);
  return Outcome(
      ::lsetxattr(m.At(w[0]).path, w[1].c_str(), value.data(), value.size(), XattrFlags(w, 3)));
}

std::string FdSetXattr(Machine& m, Words w) {
  const std::string value = Value(w[2]);
  return Outcome(
      ::fsetxattr(m.Fd(w[0]), w[1].c_str(), value.data(), value.size(), XattrFlags(w, 3)));
}

// getxattr PATH NAME [SIZE]
std::string GetXattr(Machine& m, Words w) {
  std::string value(w.size() > 2 ? static_cast<std::size_t>(ParseNumber(w[2])) : 65536, '\0');
  const std::string name = Machine::Expanded(w[1]);
  const ssize_t n = ::lgetxattr(m.At(w[0]).path, name.c_str(), value.data(), value.size());
  if (n < 0) return ErrnoName(errno);
  if (value.empty()) return std::to_string(n);
  return Shortened(value.substr(0, static_cast<std::size_t>(n)));
}

std::string FdGetXattr(Machine& m, Words w) {
  std::string value(65536, '\0');
  const ssize_t n = ::fgetxattr(m.Fd(w[0]), w[1].c_str(), value.data(), value.size());
  return n < 0 ? ErrnoName(errno) : Shortened(value.substr(0, static_cast<std::size_t>(n)));
}

// listxattr PATH [SIZE]
std::string ListXattr(Machine& m, Words w) {
  std::string list(w.size() > 1 ? static_cast<std::size_t>(ParseNumber(w[1])) : 65536, '\0');
  const ssize_t n = ::llistxattr(m.At(w[0]).path, list.data(), list.size());
  if (n < 0) return ErrnoName(errno);
  if (list.empty()) return n > 0 ? "some" : "nothing";
  std::vector<std::string> names;
  for (std::size_t i = 0; i < static_cast<std::size_t>(n); i += names.back().size() + 1) {
    names.emplace_back(list.c_str() + i);
  }
  std::ranges::sort(names);
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : " ") + name;
  return text.empty() ? "nothing" : text;
}

std::string RemoveXattr(Machine& m, Words w) {
  return Outcome(::lremovexattr(m.At(w[0]).path, w[1].c_str()));
}

// setcap PATH: a file capability (version 2: cap_chown, permitted and effective)
std::string SetCapability(Machine& m, Words w) {
  constexpr std::array<unsigned, 5> kValue = {0x02000001U, 1U, 0U, 0U, 0U};
  return Outcome(
      ::setxattr(m.At(w[0]).path, "security.capability", kValue.data(), sizeof kValue, 0));
}

// --- ACLs (acl(5)) in the kernel's form: version 2, then {tag, permissions, id} each

struct AclItem {
  std::uint16_t tag;
  std::uint16_t permissions;
  std::uint32_t id;
};
constexpr std::uint32_t kAclVersion = 2;
constexpr std::uint32_t kNobody = ~0U;

std::string AclName(const std::string& kind) { return "system.posix_acl_" + kind; }

// "u::rwx,u:1000:r,g::r,m::r,o::-"
std::string EncodedAcl(const std::string& text) {
  std::string out(reinterpret_cast<const char*>(&kAclVersion), sizeof kAclVersion);
  std::istringstream items(text);
  for (std::string item; std::getline(items, item, ',');) {
    const std::size_t first = item.find(':');
    const std::size_t second = item.find(':', first + 1);
    const std::string id = item.substr(first + 1, second - first - 1);
    AclItem entry = {0, 0, id.empty() ? kNobody : static_cast<std::uint32_t>(ParseNumber(id))};
    switch (item[0]) {
      case 'u':
        entry.tag = id.empty() ? 0x01 : 0x02;
        break;
      case 'g':
        entry.tag = id.empty() ? 0x04 : 0x08;
        break;
      case 'm':
        entry.tag = 0x10;
        break;
      default:
        entry.tag = 0x20;
    }
    for (const char c : item.substr(second + 1)) {
      entry.permissions |= static_cast<std::uint16_t>(c == 'r'   ? 4
                                                      : c == 'w' ? 2
                                                      : c == 'x' ? 1
                                                                 : 0);
    }
    out.append(reinterpret_cast<const char*>(&entry), sizeof entry);
  }
  return out;
}

std::string DecodedAcl(std::string_view value) {
  std::string text;
  for (std::size_t i = sizeof kAclVersion; i + sizeof(AclItem) <= value.size();
       i += sizeof(AclItem)) {
    AclItem entry;
    value.copy(reinterpret_cast<char*>(&entry), sizeof entry, i);
    if (!text.empty()) text += ',';
    text += entry.tag < 4 ? 'u' : entry.tag < 16 ? 'g' : entry.tag == 16 ? 'm' : 'o';
    text += ':' + (entry.id == kNobody ? "" : std::to_string(entry.id)) + ':';
    for (const auto& [bit, letter] : {std::pair{4, 'r'}, std::pair{2, 'w'}, std::pair{1, 'x'}}) {
      if ((entry.permissions & bit) != 0) text += letter;
    }
  }
  return text;
}

// setacl PATH access|default ENTRIES
std::string SetAcl(Machine& m, Words w) {
  const std::string value = EncodedAcl(w[2]);
  return Outcome(::setxattr(m.At(w[0]).path, AclName(w[1]).c_str(), value.data(), value.size(), 0));
}

// getacl PATH access|default
std::string GetAcl(Machine& m, Words w) {
  std::string value(65536, '\0');
  const ssize_t n = ::getxattr(m.At(w[0]).path, AclName(w[1]).c_str(), value.data(), value.size());
  return n < 0 ? ErrnoName(errno)
               : DecodedAcl(std::string_view(value).substr(0, static_cast<std::size_t>(n)));
}

constexpr CallRow kCalls[] = {
    {"stat", 1, 1, Stat<0>},
    {"lstat", 1, 1, Stat<AT_SYMLINK_NOFOLLOW>},
    {"fstat", 1, 1, FdStat},
    {"device", 1, 1, DeviceNumber},
    {"times", 1, 1, Times},
    {"atime", 1, 1, Age<&stat::st_atim>},
    {"mtime", 1, 1, Age<&stat::st_mtim>},
    {"birth", 1, 1, Birth},
    {"statx", 3, 3, Statx},
    {"chmod", 2, 2, Chmod},
    {"lchmod", 2, 2, LinkChmod},
    {"fchmod", 2, 2, FdChmod},
    {"chown", 3, 3, Chown<0>},
    {"lchown", 3, 3, Chown<AT_SYMLINK_NOFOLLOW>},
    {"fchown", 3, 3, FdChown},
    {"utimes", 1, 3, SetTimes<0>},
    {"lutimes", 1, 3, SetTimes<AT_SYMLINK_NOFOLLOW>},
    {"futimens", 3, 3, FdSetTimes},
    {"access", 2, 3, Access},
    {"statfs", 1, 1, StatFs},
    {"setxattr", 3, 4, SetXattr},
    {"lsetxattr", 3, 4, LinkSetXattr},
    {"fsetxattr", 3, 4, FdSetXattr},
    {"getxattr", 2, 3, GetXattr},
    {"fgetxattr", 2, 2, FdGetXattr},
    {"listxattr", 1, 2, ListXattr},
    {"removexattr", 2, 2, RemoveXattr},
    {"setcap", 1, 1, SetCapability},
    {"setacl", 3, 3, SetAcl},
    {"getacl", 2, 2, GetAcl},
};

}  // namespace

std::span<const CallRow> AttributeCalls() { return kCalls; }

}  // namespace strata::conformance
