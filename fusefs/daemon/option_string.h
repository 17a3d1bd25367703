// The syntax of mount option strings: "name,name=value,..." where values may be lists "a:b:c".
// A backslash takes the meaning from the character after it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace strata::fusefs {

// Splits at every `separator` that no backslash precedes. The pieces keep their backslashes; empty
// pieces are kept, too.
std::vector<std::string_view> SplitUnescaped(std::string_view text, char separator);

// Removes the backslashes: "\\:" becomes ":", "\\\\" becomes "\\". One at the very end stays.
std::string Unescape(std::string_view text);

}  // namespace strata::fusefs
