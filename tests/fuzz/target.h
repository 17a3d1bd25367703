// What a fuzz target is. One program a target: with libFuzzer around it (the preset `fuzz`), and as
// a plain program that replays its inputs (every build). How to run them: docs/fuzzing.md.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace strata::fuzz {

struct Input {
  std::string name;
  std::string bytes;
};

// Each target defines these three.

// Well-formed and nearly well-formed inputs to begin with; the same every time.
std::vector<Input> Seeds();
// Makes the checksums of a changed input right again, which would hide everything behind them.
void Repair(std::string& input);
// Tries one input; a broken promise ends the process by Expect().
void TryInput(std::string_view input);

// Prints what was promised and aborts if it does not hold.
void Expect(bool holds, std::string_view promise);

}  // namespace strata::fuzz
