// A target as libFuzzer wants it (https://llvm.org/docs/LibFuzzer.html).
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/logging.h"
#include "tests/fuzz/target.h"

// libFuzzer's own.
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  strata::log::Configure("fuzz", strata::log::Level::kOff, strata::log::Format::kText);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  strata::fuzz::TryInput({reinterpret_cast<const char*>(data), size});
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  const std::size_t changed = LLVMFuzzerMutate(data, size, max_size);
  if (seed % 16 == 0) return changed;  // wrong checksums are to be tried, too
  std::string input(reinterpret_cast<const char*>(data), changed);
  strata::fuzz::Repair(input);
  if (input.size() > max_size) return changed;
  std::memcpy(data, input.data(), input.size());
  return input.size();
}
