#include "tests/fuzz/mutator.h"

#include <algorithm>
#include <array>

namespace strata::fuzz {

// Not by a distribution of the library, whose numbers are not the same everywhere.
std::size_t Mutator::Below(std::size_t limit) {
  return limit == 0 ? 0 : static_cast<std::size_t>(random_() % limit);
}

void Mutator::PutNumber(std::string& bytes) {
  constexpr std::array<std::uint64_t, 12> kEdges = {
      0,       1,           0x7F,        0x80,        0xFF,        0xFFFF,
      0x10000, 0x7FFFFFFFU, 0x80000000U, 0xFFFFFFFFU, ~0ULL >> 1U, ~0ULL};
  const std::uint64_t number = kEdges[Below(kEdges.size())];
  const std::size_t width = std::size_t{1} << Below(4);
  const std::size_t at = Below(bytes.size());
  const bool big_endian = Below(2) == 0;
  for (std::size_t i = 0; i < width && at + i < bytes.size(); ++i) {
    const std::size_t shift = 8 * (big_endian ? width - 1 - i : i);
    bytes[at + i] = static_cast<char>((number >> shift) & 0xFFU);
  }
}

void Mutator::PutPiece(std::string& bytes) {
  const std::string& other = inputs_[Below(inputs_.size())].bytes;
  const std::size_t from = Below(other.size());
  const std::size_t most = std::min<std::size_t>(other.size() - from, 2048);
  const std::string piece = other.substr(from, 1 + Below(most));
  const std::size_t at = Below(bytes.size() + 1);
  if (Below(2) == 0) {
    bytes.insert(at, piece);
  } else {
    bytes.replace(at, piece.size(), piece);
  }
}

void Mutator::Change(std::string& bytes) {
  if (bytes.empty()) {
    PutPiece(bytes);
    return;
  }
  const std::size_t at = Below(bytes.size());
  switch (Below(8)) {
    case 0:
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << Below(8)));
      return;
    case 1:
      bytes[at] = static_cast<char>(random_());
      return;
    case 2:
      PutNumber(bytes);
      return;
    case 3:
      bytes.erase(at, 1 + Below(std::min<std::size_t>(bytes.size() - at, 600)));
      return;
    case 4:
      bytes.insert(Below(bytes.size() + 1), bytes.substr(at, 1 + Below(1024)));
      return;
    case 5:
      bytes.resize(at);
      return;
    case 6:
      // Digits, which sizes in tar headers, pax records and JSON are made of.
      if (const auto digit = bytes.find_first_of("0123456789", at); digit != std::string::npos) {
        bytes[digit] = static_cast<char>('0' + Below(10));
      }
      return;
    default:
      PutPiece(bytes);
      return;
  }
}

std::string Mutator::Next() {
  std::string bytes = inputs_[Below(inputs_.size())].bytes;
  for (std::size_t changes = 1 + Below(8); changes > 0; --changes) Change(bytes);
  constexpr std::size_t kMost = std::size_t{256} * 1024;
  if (bytes.size() > kMost) bytes.resize(kMost);
  return bytes;
}

}  // namespace strata::fuzz
