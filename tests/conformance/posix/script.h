// The cases of the POSIX suite as text: one system call a line, the errno it must give where it
// must fail. See cases/README.md for the language.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace strata::conformance {

struct Line {
  int number = 0;  // in its file
  std::string text;
  std::vector<std::string> words;
  // What stands behind "->": the exact result. Empty: anything but an errno.
  std::string expected;
};

struct Script {
  std::string name;         // unique; also the name of the directory it runs in
  std::string file;         // without its directory
  std::vector<Line> setup;  // makes the tree that the body meets
  std::vector<Line> body;
};

// All cases of the *.case files in `directory`, by file name and order. EINVAL, with file and line,
// for what is not in the language or a name used twice.
Result<std::vector<Script>> LoadScripts(const std::string& directory);
// One line; `number` goes into it as it is.
Line ParseLine(const std::string& text, int number);

}  // namespace strata::conformance
