// Bytes as hexadecimal digits.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace strata {

// Lower-case, two digits a byte.
std::string HexEncode(std::span<const std::uint8_t> bytes);

}  // namespace strata
