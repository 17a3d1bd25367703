// What may stand at the end of a command line, for the shells' completion. The shell scripts in
// packaging/completions only pass words in and candidates out.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "manager/cli/command.h"

namespace strata::manager::cli {

// Candidates for the last of `words` (those after "strata", the last may be empty). Live objects
// come from a running daemon; none is started, and none running means none. The single candidate
// ":files" or ":directories" asks the shell for its own.
std::vector<std::string> Complete(const Context& context, std::span<const std::string> words);

// The global options, also main.cc's.
std::span<const FlagSpec> GlobalFlags();

}  // namespace strata::manager::cli
