// Changes inputs as a fuzzer would, but the same way every time.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <string>

#include "tests/fuzz/target.h"

namespace strata::fuzz {

// Not thread-safe.
class Mutator {
 public:
  // Borrows the inputs, of which there must be one.
  Mutator(std::span<const Input> inputs, std::uint64_t seed) : inputs_(inputs), random_(seed) {}

  // One of the inputs with one to eight changes: bits, bytes, numbers at the edge, pieces left out,
  // doubled, moved in from another input.
  std::string Next();

 private:
  std::size_t Below(std::size_t limit);
  void Change(std::string& bytes);
  void PutNumber(std::string& bytes);
  void PutPiece(std::string& bytes);

  const std::span<const Input> inputs_;
  std::mt19937_64 random_;
};

}  // namespace strata::fuzz
