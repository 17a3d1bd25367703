// Runs the lines of a case, one system call each, and says what came out in words that are the same
// wherever the same happened: no inode numbers, no times, no addresses.
#pragma once

#include <dirent.h>
#include <sys/stat.h>

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tests/conformance/posix/script.h"

namespace strata::conformance {

// A memory mapping with a name.
struct Mapping {
  char* address = nullptr;
  std::size_t length = 0;
};

// Acts in the working directory of the process, and changes the process (credentials, umask,
// limits): each case has one of its own. A mistake in a case throws std::invalid_argument.
class Machine {
 public:
  // What the line's call returned ("ok", a number, bytes, names, or an errno), followed by what it
  // changed of the watched files in braces.
  std::string Run(const Line& line);
  // The same without the watched files.
  std::string Call(std::span<const std::string> words);

  // A path, and the directory descriptor it is relative to: "a:name" is relative to slot a, "NULL"
  // is a bad address, "\"\"" the empty path.
  struct Place {
    int directory;
    const char* path;
  };
  Place At(const std::string& word);
  // Any other word with "x*N" replaced by N times x.
  static std::string Expanded(const std::string& word);

  // An open file; -1 (for EBADF) for "none".
  int Fd(const std::string& slot) const;
  std::string Keep(const std::string& slot, int fd);
  std::string Close(const std::string& slot);

  void Watch(std::span<const std::string> paths);

  std::map<std::string, DIR*> directories;
  std::map<std::string, Mapping> mappings;

 private:
  using Seen = std::optional<struct stat>;
  std::string Changes();

  std::map<std::string, int> fds_;
  std::vector<std::pair<std::string, Seen>> watched_;
  std::vector<std::string> paths_;  // what Place points into
};

// One word of the language.
struct CallRow {
  std::string_view name;
  std::size_t min_words;  // after the name
  std::size_t max_words;
  std::string (*run)(Machine& machine, std::span<const std::string> words);
};

// The tables, by subject; machine.cc looks through all.
std::span<const CallRow> NameCalls();
std::span<const CallRow> AttributeCalls();
std::span<const CallRow> FileCalls();
std::span<const CallRow> SpaceCalls();
std::span<const CallRow> ProcessCalls();

// What the calls share.
// "ok" or the errno of a call that returned -1; the number instead of "ok" for Number.
std::string Outcome(long result);
std::string Number(long result);
std::string ErrnoName(int code);
// "EEXIST" and its like: how a failed call reads in a transcript.
bool IsErrnoName(std::string_view text);
// 1k, 2M, 0x10, 0755, -1.
long long ParseNumber(const std::string& word);
// "O_RDWR|O_CREAT" through a table; numbers are taken as they are.
struct Flag {
  std::string_view name;
  unsigned value;
};
unsigned ParseFlags(const std::string& word, std::span<const Flag> flags);
// Bytes as words: runs are shortened to x*N, what is not printable becomes \xNN.
std::string Shortened(std::string_view bytes);
// "file 0644 1000:1000 links=1 size=5", of directories without links and size.
std::string Described(const struct stat& st);

}  // namespace strata::conformance
