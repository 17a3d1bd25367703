// Bytes to text: file names are bytes, JSON and terminals want UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace strata {

// Appends `bytes` as a quoted JSON string (RFC 8259). Bytes that are not UTF-8 become U+FFFD each.
void AppendJsonString(std::string& out, std::string_view bytes);

// `bytes` with control characters (below U+0020, and U+007F to U+009F) as "\x0a" and "\xc2\x9b",
// for one line on a terminal.
std::string EscapeControls(std::string_view bytes);

// What somebody else wrote, as an error may show it: EscapeControls() of the first 200 bytes.
std::string ShownText(std::string_view bytes);

// Length in bytes of the well-formed UTF-8 sequence at the start of `bytes` (RFC 3629), 0 if there
// is none.
std::size_t Utf8SequenceLength(std::string_view bytes);

}  // namespace strata
