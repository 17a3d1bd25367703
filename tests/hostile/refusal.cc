#include "tests/hostile/refusal.h"

#include <gtest/gtest.h>

#include <cstdint>

#include "layerstore/gc/collector.h"
#include "tests/support/must.h"

namespace strata::hostile {

std::string ExpectRefusal(layerstore::Store& store, const Canary& canary,
                          const std::function<Result<>()>& take, int code,
                          const std::string& says) {
  // The queues of the pipelines, buffers of downloads, and what the limits allow to be kept.
  constexpr std::uint64_t kMemoryMost = std::uint64_t{64} << 20U;
  const MemoryPeak memory;
  const auto result = take();
  EXPECT_LT(memory.Growth(), kMemoryMost);
  std::string text;
  if (result) {
    ADD_FAILURE() << "was taken";
  } else {
    text = result.error().ToString();
    EXPECT_EQ(result.error().code(), code) << text;
    EXPECT_NE(text.find(says), std::string::npos) << text << "\n  does not say: " << says;
    EXPECT_EQ(text.find('\x1b'), std::string::npos) << text;
  }
  EXPECT_EQ(canary.Harm(), "");
  support::Must(layerstore::Collect(store));
  EXPECT_EQ(Leftovers(store), "");
  return text;
}

}  // namespace strata::hostile
