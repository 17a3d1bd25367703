// Numbers in the files this project writes: little endian on every machine, without alignment.
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstring>

namespace strata {

// An integer in a file; records of them may be laid over its bytes.
template <std::integral T>
class Little {
 public:
  Little() = default;
  Little(T value) { *this = value; }  // NOLINT(google-explicit-constructor): as an integer is
  Little& operator=(T value) {
    if constexpr (std::endian::native == std::endian::big) value = std::byteswap(value);
    std::memcpy(bytes_.data(), &value, sizeof value);
    return *this;
  }
  operator T() const {  // NOLINT(google-explicit-constructor): as an integer is
    T value;
    std::memcpy(&value, bytes_.data(), sizeof value);
    if constexpr (std::endian::native == std::endian::big) value = std::byteswap(value);
    return value;
  }

 private:
  std::array<std::byte, sizeof(T)> bytes_{};
};

}  // namespace strata
