// The values of options, and what is said of wrong ones. Private to this folder.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace strata::fusefs {

enum class Takes : std::uint8_t { kNothing, kValue, kEither };

// EINVAL with the line for the user.
std::unexpected<Error> Complain(std::string text);

Result<unsigned> ParseNumber(std::string_view name, std::string_view text, unsigned low,
                             unsigned high);

// A number of bytes, as "4096", "64K", "1M" or "2G".
Result<std::uint64_t> ParseSize(std::string_view name, std::string_view text);

template <class T>
using Words = std::span<const std::pair<std::string_view, T>>;

template <class T>
Result<T> ParseWord(std::string_view name, std::string_view text, Words<T> words) {
  std::string known;
  for (const auto& [word, value] : words) {
    if (word == text) return value;
    known.append(known.empty() ? "" : ", ").append(word);
  }
  return Complain("option '" + std::string(name) + "': '" + std::string(text) + "' is none of " +
                  known);
}

}  // namespace strata::fusefs
