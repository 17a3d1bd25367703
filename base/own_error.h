// Telling errors that are about a file from those that are not.
#pragma once

#include <cerrno>

namespace strata {

// Whether an error says nothing about what was looked at, but about this process or the machine.
inline bool IsOurs(int code) { return code == EMFILE || code == ENFILE || code == ENOMEM; }

}  // namespace strata
