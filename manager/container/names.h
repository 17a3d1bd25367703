// Container ids and names.
#pragma once

#include <string>
#include <string_view>

namespace strata::manager {

// 64 random hex digits, for containers, execs and anonymous volumes. Never all decimal digits in
// the first twelve: tools take such a short id for a number.
std::string NewId();
// A friendly random name, "quiet_harbor"; `attempt` > 0 appends a digit to get around collisions.
std::string RandomName(int attempt);
// docker's rule for names of containers and volumes: [a-zA-Z0-9][a-zA-Z0-9_.-]+, at most 255 bytes.
bool ValidName(std::string_view name);
bool IsHex(std::string_view text);

}  // namespace strata::manager
