#include "manager/cli/image_text.h"

#include <algorithm>

namespace strata::manager::cli {

std::string ShortId(std::string_view id, bool whole) {
  if (whole) return std::string(id);
  if (id.starts_with("sha256:")) id.remove_prefix(7);
  return std::string(id.substr(0, 12));
}

std::string ShortCommand(std::string command, bool whole) {
  std::ranges::replace(command, '\n', ' ');
  std::ranges::replace(command, '\t', ' ');
  constexpr std::size_t kShown = 44;
  if (whole || command.size() <= kShown) return command;
  return command.substr(0, kShown) + "…";
}

}  // namespace strata::manager::cli
