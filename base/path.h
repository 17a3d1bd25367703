// Names and paths are bytes: never assumed to be UTF-8, never normalised.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace strata {

// Linux's limits (linux/limits.h): a name's bytes without, a path's bytes with the final NUL.
inline constexpr std::size_t kNameMax = 255;
inline constexpr std::size_t kPathMax = 4096;

// One name in a directory. Holds anything but "", ".", "..", '/', NUL and names over 255 bytes.
// Value type; borrowed form is std::string_view, checked where it enters the program.
class PathComponent {
 public:
  // EINVAL, or ENAMETOOLONG, with the name in the detail.
  static Result<PathComponent> Make(std::string_view name);
  static bool Valid(std::string_view name);

  const std::string& str() const { return name_; }
  const char* c_str() const { return name_.c_str(); }

 private:
  explicit PathComponent(std::string_view name) : name_(name) {}
  std::string name_;
};

// realpath(3): absolute, without symbolic links; its errors name the path.
Result<std::string> RealPath(const std::string& path);

// dir + '/' + name, without doubling the slash; `dir` empty gives `name`.
std::string JoinPath(std::string_view dir, std::string_view name);
// What stands before the last '/': "a/b" -> "a", "/a" -> "/", "a" -> "".
std::string_view DirName(std::string_view path);
// What stands after the last '/'.
std::string_view BaseName(std::string_view path);

}  // namespace strata
