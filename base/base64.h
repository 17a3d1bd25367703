// Base64 (RFC 4648).
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace strata {

// Standard alphabet, padded.
std::string EncodeBase64(std::string_view bytes);
// URL- and filename-safe alphabet, padded.
std::string EncodeBase64Url(std::string_view bytes);

// Takes both alphabets, with or without padding. EINVAL for anything else in the text.
Result<std::string> DecodeBase64(std::string_view text);

}  // namespace strata
