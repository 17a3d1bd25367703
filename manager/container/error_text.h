// What a client reads of an error.
#pragma once

#include <string>

#include "base/error.h"

namespace strata::manager {

// One line. An error of ours has a sentence as its detail, which is all of it; one of a system call
// has at most the place, and gets the call and the system's reason: "/etc/passwd: openat2: …".
std::string ErrorText(const Error& error);

}  // namespace strata::manager
