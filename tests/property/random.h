// The generator of pseudo-random numbers of the model test: the same numbers on every machine and
// with every library, unlike the distributions of <random>.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

namespace strata::property {

// SplitMix64 (https://prng.di.unimi.it/splitmix64.c).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t Next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  // In [0, n); n > 0.
  std::uint64_t Below(std::uint64_t n) { return Next() % n; }
  std::int64_t Between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(Below(static_cast<std::uint64_t>(high - low + 1)));
  }
  // True in `percent` of 100 cases.
  bool Chance(unsigned percent) { return Below(100) < percent; }
  template <class T>
  T Pick(std::initializer_list<T> from) {
    return *(from.begin() + Below(from.size()));
  }
  template <class T>
  const T& Pick(const std::vector<T>& from) {
    return from[Below(from.size())];
  }

 private:
  std::uint64_t state_;
};

}  // namespace strata::property
