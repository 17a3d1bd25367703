// XXH3-128 checksums: they find bit rot and equal contents, not forgery. What crosses a trust
// boundary is checked by SHA-256 (base/digest.h).
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace strata {

// A checksum, in the canonical (big endian) order of xxHash's specification. Value type.
class Xxh128 {
 public:
  static constexpr std::size_t kBytes = 16;
  using Bytes = std::array<std::uint8_t, kBytes>;

  Xxh128() = default;
  explicit Xxh128(const Bytes& bytes) : bytes_(bytes) {}
  static Xxh128 Of(std::string_view data);

  const Bytes& bytes() const { return bytes_; }
  friend auto operator<=>(const Xxh128&, const Xxh128&) = default;

 private:
  Bytes bytes_{};
};

// Of data that comes in pieces. Not thread-safe.
class Xxh128Hasher {
 public:
  Xxh128Hasher();
  ~Xxh128Hasher();
  Xxh128Hasher(const Xxh128Hasher&) = delete;
  Xxh128Hasher& operator=(const Xxh128Hasher&) = delete;

  void Update(std::string_view data);
  // The checksum of everything since the last call; starts anew.
  Xxh128 Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace strata
