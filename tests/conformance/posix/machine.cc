#include "tests/conformance/posix/machine.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <stdexcept>
#include <utility>

namespace strata::conformance {
namespace {

// Long enough runs to be worth shortening.
constexpr std::size_t kShortestRun = 6;

// A moment that differs from any timestamp given so far: filesystems stamp with the coarse clock,
// some (Linux 6.13 and later) with the exact time where a stamp has been looked at, and with none
// earlier than that from then on.
void AwaitTick() {
  struct timespec start, now;
  ::clock_gettime(CLOCK_REALTIME, &start);
  do {
    ::usleep(500);
    ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  } while (std::pair(now.tv_sec, now.tv_nsec) <= std::pair(start.tv_sec, start.tv_nsec));
}

bool Same(const struct timespec& a, const struct timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

std::string TypeName(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return "file";
    case S_IFDIR:
      return "dir";
    case S_IFLNK:
      return "symlink";
    case S_IFIFO:
      return "fifo";
    case S_IFSOCK:
      return "socket";
    case S_IFCHR:
      return "char";
    default:
      return "block";
  }
}

std::string Octal(mode_t mode) {
  char text[8];
  std::snprintf(text, sizeof text, "%04o", mode & 07777U);
  return text;
}

std::string Difference(const struct stat& was, const struct stat& is) {
  std::string text;
  const auto add = [&text](const std::string& what) { text += " " + what; };
  if ((was.st_mode & S_IFMT) != (is.st_mode & S_IFMT) || was.st_ino != is.st_ino) {
    return " now " + Described(is);
  }
  if (was.st_mode != is.st_mode) add("mode=" + Octal(is.st_mode));
  if (was.st_uid != is.st_uid) add("uid=" + std::to_string(is.st_uid));
  if (was.st_gid != is.st_gid) add("gid=" + std::to_string(is.st_gid));
  if (!S_ISDIR(is.st_mode)) {
    if (was.st_nlink != is.st_nlink) add("links=" + std::to_string(is.st_nlink));
    if (was.st_size != is.st_size) add("size=" + std::to_string(is.st_size));
  }
  if (!Same(was.st_mtim, is.st_mtim)) add("mtime");
  if (!Same(was.st_ctim, is.st_ctim)) add("ctime");
  return text;
}

}  // namespace

std::string ErrnoName(int code) {
  const char* name = ::strerrorname_np(code);
  return name != nullptr ? name : "errno " + std::to_string(code);
}

bool IsErrnoName(std::string_view text) {
  return text.size() > 2 && text[0] == 'E' && text.find_first_of(" {") == std::string_view::npos &&
         std::ranges::all_of(
             text, [](char c) { return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); });
}

std::string Outcome(long result) { return result == -1 ? ErrnoName(errno) : "ok"; }

std::string Number(long result) { return result == -1 ? ErrnoName(errno) : std::to_string(result); }

long long ParseNumber(const std::string& word) {
  char* end = nullptr;
  long long number = std::strtoll(word.c_str(), &end, 0);
  switch (*end) {
    case 'k':
      number <<= 10;
      ++end;
      break;
    case 'M':
      number <<= 20;
      ++end;
      break;
    case 'G':
      number <<= 30;
      ++end;
      break;
    case 'T':
      number <<= 40;
      ++end;
      break;
    default:
      break;
  }
  if (word.empty() || *end != '\0') throw std::invalid_argument("not a number: " + word);
  return number;
}

unsigned ParseFlags(const std::string& word, std::span<const Flag> flags) {
  unsigned value = 0;
  for (std::size_t from = 0; from <= word.size();) {
    const std::size_t bar = std::min(word.find('|', from), word.size());
    const std::string part = word.substr(from, bar - from);
    const auto flag = std::ranges::find(flags, part, &Flag::name);
    value |= flag != flags.end() ? flag->value : static_cast<unsigned>(ParseNumber(part));
    from = bar + 1;
  }
  return value;
}

std::string Shortened(std::string_view bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes.size();) {
    std::size_t end = i;
    while (end < bytes.size() && bytes[end] == bytes[i]) ++end;
    std::string one(1, bytes[i]);
    if (bytes[i] <= ' ' || bytes[i] > '~') {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", static_cast<unsigned char>(bytes[i]));
      one = escaped;
    }
    if (end - i >= kShortestRun) {
      text += one + "*" + std::to_string(end - i);
    } else {
      for (; i < end; ++i) text += one;
    }
    i = end;
  }
  return text.empty() ? "nothing" : text;
}

std::string Described(const struct stat& st) {
  std::string text = TypeName(st.st_mode) + " " + Octal(st.st_mode) + " " +
                     std::to_string(st.st_uid) + ":" + std::to_string(st.st_gid);
  if (!S_ISDIR(st.st_mode)) {
    text += " links=" + std::to_string(st.st_nlink) + " size=" + std::to_string(st.st_size);
  }
  return text;
}

std::string Machine::Expanded(const std::string& word) {
  std::string out;
  for (std::size_t i = 0; i < word.size(); ++i) {
    if (i + 2 < word.size() && word[i + 1] == '*' && std::isdigit(word[i + 2]) != 0) {
      std::size_t end = i + 2;
      while (end < word.size() && std::isdigit(word[end]) != 0) ++end;
      out.append(std::stoul(word.substr(i + 2, end - i - 2)), word[i]);
      i = end - 1;
    } else {
      out += word[i];
    }
  }
  return out;
}

Machine::Place Machine::At(const std::string& word) {
  if (word == "NULL") return {AT_FDCWD, nullptr};
  paths_.push_back(word == "\"\"" ? "" : Expanded(word));
  std::string& path = paths_.back();
  int directory = AT_FDCWD;
  if (const auto colon = path.find(':'); colon != std::string::npos) {
    directory = Fd(path.substr(0, colon));
    path.erase(0, colon + 1);
  }
  return {directory, path.c_str()};
}

int Machine::Fd(const std::string& slot) const {
  if (slot == "none") return -1;
  const auto found = fds_.find(slot);
  if (found == fds_.end()) throw std::invalid_argument("no open file '" + slot + "'");
  return found->second;
}

std::string Machine::Keep(const std::string& slot, int fd) {
  const std::string outcome = Outcome(fd);
  fds_[slot] = fd;  // one that failed answers EBADF from now on
  return outcome;
}

std::string Machine::Close(const std::string& slot) {
  const int fd = Fd(slot);
  fds_.erase(slot);
  return Outcome(::close(fd));
}

void Machine::Watch(std::span<const std::string> paths) {
  watched_.clear();
  for (const std::string& path : paths) {
    struct stat st;
    const bool there = ::lstat(path.c_str(), &st) == 0;
    watched_.emplace_back(path, there ? Seen(st) : std::nullopt);
  }
}

std::string Machine::Changes() {
  std::string text;
  for (auto& [path, seen] : watched_) {
    struct stat st;
    const Seen now = ::lstat(path.c_str(), &st) == 0 ? Seen(st) : std::nullopt;
    std::string change;
    if (seen && now) {
      change = Difference(*seen, *now);
    } else if (now) {
      change = " " + Described(*now);
    } else if (seen) {
      change = " gone";
    }
    seen = now;
    if (!change.empty()) text += " {" + path + ":" + change + "}";
  }
  return text;
}

std::string Machine::Call(std::span<const std::string> words) {
  if (words.empty()) throw std::invalid_argument("an empty call");
  for (const auto table :
       {NameCalls(), AttributeCalls(), FileCalls(), SpaceCalls(), ProcessCalls()}) {
    const auto row = std::ranges::find(table, words[0], &CallRow::name);
    if (row == table.end()) continue;
    if (words.size() - 1 < row->min_words || words.size() - 1 > row->max_words) {
      throw std::invalid_argument("'" + words[0] + "' takes " + std::to_string(row->min_words) +
                                  " to " + std::to_string(row->max_words) + " words");
    }
    paths_.clear();
    paths_.reserve(words.size());  // Place keeps pointers into it
    return row->run(*this, words.subspan(1));
  }
  throw std::invalid_argument("unknown call '" + words[0] + "'");
}

std::string Machine::Run(const Line& line) {
  if (!watched_.empty()) AwaitTick();
  std::string result = Call(line.words);
  return result + Changes();
}

}  // namespace strata::conformance
