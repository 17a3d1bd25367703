#include "fusefs/union/overlay_mounts.h"

#include <fstream>
#include <string_view>
#include <vector>

namespace strata::fusefs {
namespace {

// mountinfo writes blanks, backslashes and the like as three octal digits.
std::string DecodeOctal(std::string_view text) {
  constexpr std::size_t kDigits = 3;
  std::string decoded;
  while (!text.empty()) {
    const std::string_view digits = text.substr(1, kDigits);
    if (text[0] == '\\' && digits.size() == kDigits &&
        digits.find_first_not_of("01234567") == std::string_view::npos) {
      decoded.push_back(
          static_cast<char>((digits[0] - '0') * 64 + (digits[1] - '0') * 8 + (digits[2] - '0')));
      text.remove_prefix(1 + kDigits);
    } else {
      decoded.push_back(text[0]);
      text.remove_prefix(1);
    }
  }
  return decoded;
}

// The values of upperdir= and workdir= in an overlay mount's options; a comma within a value comes
// with a backslash.
std::vector<std::string> WrittenDirectories(std::string_view options) {
  std::vector<std::string> directories;
  std::string option;
  const auto finish = [&] {
    for (const std::string_view key : {"upperdir=", "workdir="}) {
      if (option.starts_with(key)) directories.push_back(DecodeOctal(option.substr(key.size())));
    }
    option.clear();
  };
  for (std::size_t i = 0; i < options.size(); ++i) {
    if (options[i] == '\\' && i + 1 < options.size() && options[i + 1] == ',') {
      option.push_back(options[++i]);
    } else if (options[i] == ',') {
      finish();
    } else {
      option.push_back(options[i]);
    }
  }
  finish();
  return directories;
}

bool Same(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

}  // namespace

Result<> CheckUnusedByOverlay(const struct stat& upper, const std::string& upper_path,
                              const struct stat& work, const std::string& work_path) {
  std::ifstream mounts("/proc/self/mountinfo");  // without /proc there is nothing to ask
  for (std::string line; std::getline(mounts, line);) {
    constexpr std::string_view kOverlay = " - overlay ";
    const std::size_t at = line.find(kOverlay);
    const std::size_t options = at == std::string::npos ? at : line.find(' ', at + kOverlay.size());
    if (options == std::string::npos) continue;
    for (const std::string& path : WrittenDirectories(std::string_view(line).substr(options + 1))) {
      struct stat used{};
      if (::stat(path.c_str(), &used) != 0) continue;
      if (Same(used, upper)) {
        return Fail(EBUSY, "upperdir", "upperdir " + upper_path + " is in use by a kernel overlay");
      }
      if (Same(used, work)) {
        return Fail(EBUSY, "workdir", "workdir " + work_path + " is in use by a kernel overlay");
      }
    }
  }
  return {};
}

}  // namespace strata::fusefs
