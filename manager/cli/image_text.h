// How images' ids and the commands that made their layers are shown in tables.
#pragma once

#include <string>
#include <string_view>

namespace strata::manager::cli {

// The first 12 digits of "sha256:…", or `whole` all of it.
std::string ShortId(std::string_view id, bool whole);
// A step of a history in one line, its first words unless `whole`.
std::string ShortCommand(std::string command, bool whole);

}  // namespace strata::manager::cli
