#include "manager/cli/confirm.h"

#include <unistd.h>

#include <iostream>
#include <string>

#include "base/try.h"
#include "manager/cli/session.h"

namespace strata::manager::cli {

Result<bool> Confirm(std::string_view warning) {
  STRATA_TRY(WriteFd(STDERR_FILENO, std::string(warning) + "\nGo on? [y/N] "));
  std::string answer;
  std::getline(std::cin, answer);
  return answer.starts_with('y') || answer.starts_with('Y');
}

}  // namespace strata::manager::cli
