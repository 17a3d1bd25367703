// strata-store(8): works on a store without a daemon, or beside one.
#pragma once

#include <span>
#include <string>

namespace strata::manager {

// Exit statuses: the store is clean, or what was asked for is done; it is not; the command line is
// wrong or the store can not be opened.
inline constexpr int kStoreClean = 0;
inline constexpr int kStoreDamaged = 1;
inline constexpr int kStoreUsage = 125;

// Runs the command that `words` (without the program's name) say and prints what it has to tell.
int RunStoreTool(std::span<const std::string> words);

}  // namespace strata::manager
