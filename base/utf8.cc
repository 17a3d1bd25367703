#include "base/utf8.h"

#include <cstdint>

namespace strata {
namespace {

constexpr char kHex[] = "0123456789abcdef";

constexpr bool IsContinuation(unsigned char c) { return (c & 0xC0U) == 0x80U; }

// In bytes, of the control character that `bytes`, which are not empty, begin with; 0: with none.
std::size_t ControlLength(std::string_view bytes) {
  constexpr unsigned char kDelete = 0x7F;
  constexpr unsigned char kUpperLead = 0xC2;  // U+0080 to U+009F are C2 80 to C2 9F
  const auto first = static_cast<unsigned char>(bytes[0]);
  if (first < ' ' || first == kDelete) return 1;
  if (first != kUpperLead || bytes.size() < 2) return 0;
  const auto second = static_cast<unsigned char>(bytes[1]);
  return IsContinuation(second) && second < 0xA0 ? 2 : 0;
}

}  // namespace

std::size_t Utf8SequenceLength(std::string_view bytes) {
  if (bytes.empty()) return 0;
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char lead = at(0);
  if (lead < 0x80) return 1;
  std::size_t length = 0;
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;  // surrogates
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;  // beyond U+10FFFF
  } else {
    return 0;
  }
  if (bytes.size() < length || at(1) < low || at(1) > high) return 0;
  for (std::size_t i = 2; i < length; ++i) {
    if (!IsContinuation(at(i))) return 0;
  }
  return length;
}

std::string EscapeControls(std::string_view bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::size_t length = ControlLength(bytes.substr(i));
    if (length == 0) text.push_back(bytes[i]);
    for (const char c : bytes.substr(i, length)) {
      const auto byte = static_cast<unsigned char>(c);
      text.append("\\x").append(1, kHex[byte >> 4U]).append(1, kHex[byte & 0xFU]);
    }
    if (length > 1) ++i;
  }
  return text;
}

std::string ShownText(std::string_view bytes) {
  constexpr std::size_t kShownBytes = 200;
  std::string text = EscapeControls(bytes.substr(0, kShownBytes));
  if (bytes.size() > kShownBytes) text += "...";
  return text;
}

void AppendJsonString(std::string& out, std::string_view bytes) {
  out.push_back('"');
  while (!bytes.empty()) {
    const auto c = static_cast<unsigned char>(bytes.front());
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(static_cast<char>(c));
      bytes.remove_prefix(1);
    } else if (c < 0x20) {
      out.append("\\u00");
      out.push_back(kHex[c >> 4U]);
      out.push_back(kHex[c & 0xFU]);
      bytes.remove_prefix(1);
    } else if (const std::size_t length = Utf8SequenceLength(bytes); length > 0) {
      out.append(bytes.substr(0, length));
      bytes.remove_prefix(length);
    } else {
      out.append("\\ufffd");
      bytes.remove_prefix(1);
    }
  }
  out.push_back('"');
}

}  // namespace strata
