#include "manager/container/security_options.h"

#include <string_view>

namespace strata::manager {
namespace {

std::unexpected<Error> Refuse(std::string_view option, const char* why = "") {
  return Fail(EINVAL, "create",
              "invalid --security-opt 1: \"" + std::string(option) + "\"" + std::string(why));
}

}  // namespace

Result<SecurityOptions> ParseSecurityOptions(const std::vector<std::string>& options) {
  SecurityOptions parsed;
  for (const std::string_view option : options) {
    const std::size_t separator = option.find_first_of(":=");
    const std::string_view name = option.substr(0, separator);
    const bool bare = separator == std::string_view::npos;
    const std::string_view value = bare ? std::string_view() : option.substr(separator + 1);
    if (name == "no-new-privileges") {
      if (!bare && value != "true" && value != "false") return Refuse(option);
      parsed.no_new_privileges = value != "false";
    } else if (name == "seccomp") {
      // What docker's client sends is the text of the profile.
      if (value != "unconfined") return Refuse(name, ": only unconfined is supported, no profile");
      parsed.seccomp_unconfined = true;
    } else if (!(name == "apparmor" && value == "unconfined") &&
               !(name == "label" && value == "disable")) {
      return Refuse(option);
    }
  }
  return parsed;
}

}  // namespace strata::manager
