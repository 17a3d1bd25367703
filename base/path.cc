#include "base/path.h"

#include <cstdlib>
#include <memory>

namespace strata {

bool PathComponent::Valid(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.size() <= kNameMax &&
         name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

Result<PathComponent> PathComponent::Make(std::string_view name) {
  if (Valid(name)) return PathComponent(name);
  if (name.size() > kNameMax) {
    return Fail(ENAMETOOLONG, "name", std::string(name.substr(0, 40)) + "...");
  }
  return Fail(EINVAL, "name", "'" + std::string(name) + "'");
}

Result<std::string> RealPath(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr),
                                                         &std::free);
  if (!real) return FailErrno("realpath", path);
  return std::string(real.get());
}

std::string JoinPath(std::string_view dir, std::string_view name) {
  std::string path(dir);
  if (!path.empty() && path.back() != '/') path.push_back('/');
  return path.append(name);
}

std::string_view DirName(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return {};
  return slash == 0 ? path.substr(0, 1) : path.substr(0, slash);
}

std::string_view BaseName(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

}  // namespace strata
