// The text form of a sequence: what a failing run writes and regress/ keeps.
//
//   strata-model 1
//   seed 42
//   umask 022
//   layer                            bottom first; "upper" instead of "layer" for a prefilled upper
//   dir path=a mode=755 mtime=...    commands of that layer
//   ops
//   open slot=1 path=a/f flags=0102 mode=644
//
// One command per line, key=value with %XX for bytes that are not plain, defaults left out, '#'
// starts a comment line. Versioned: a reader refuses other numbers.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "tests/property/sequence.h"

namespace strata::property {

std::string ToText(const Sequence& sequence);
std::string ToText(const Operation& operation);
// EINVAL with the line in the detail.
Result<Sequence> ParseSequence(std::string_view text);

}  // namespace strata::property
