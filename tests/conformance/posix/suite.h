// Runs all cases of the POSIX suite in one place and compares what came out with another place.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tests/conformance/posix/script.h"

namespace strata::conformance {

enum class Part { kSetup, kBody };

// One result for each line of a case; shorter if its process died, with the reason as the last one.
using Transcript = std::vector<std::string>;
// By name of the case.
using Transcripts = std::map<std::string, Transcript>;

// Runs one part of every case, each in a process of its own, in the directory base/NAME, which is
// made (mode 0777) where it is not there. A few run at a time. Throws (must.h) if it cannot.
Transcripts RunScripts(const std::vector<Script>& scripts, const std::string& base, Part part);

// Lines that did not come out as they say they must; empty if all did.
std::vector<std::string> Unexpected(const std::vector<Script>& scripts, const Transcripts& results,
                                    Part part);

// Lines that came out otherwise on the mount than natively, by file, line and case. Those that
// are known (differences.h) for a mount called `variant` are left out, but must be there.
std::vector<std::string> Compare(const std::vector<Script>& scripts, const Transcripts& native,
                                 const Transcripts& mount, std::string_view variant);

}  // namespace strata::conformance
