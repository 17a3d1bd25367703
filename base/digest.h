// Content digests as the OCI image specification writes them: "sha256:<64 lower-case hex digits>".
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace strata {

// A SHA-256 digest. Value type; ordered and hashable. The algorithm travels with every printed
// form.
class Digest {
 public:
  static constexpr std::size_t kBytes = 32;
  using Bytes = std::array<std::uint8_t, kBytes>;

  Digest() = default;  // all zero: "no digest"
  explicit Digest(const Bytes& bytes) : bytes_(bytes) {}

  // EINVAL unless `text` is exactly "sha256:" and 64 lower-case hex digits
  // (https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests).
  static Result<Digest> Parse(std::string_view text);
  // The same for the bare 64 digits.
  static Result<Digest> FromHex(std::string_view hex);
  // Digest of a buffer.
  static Digest Of(std::string_view data);

  const Bytes& bytes() const { return bytes_; }
  bool empty() const { return bytes_ == Bytes{}; }
  std::string Hex() const;       // 64 digits, a safe file name
  std::string ToString() const;  // with "sha256:"
  // The first 12 digits, as docker prints image ids.
  std::string Short() const { return Hex().substr(0, 12); }

  auto operator<=>(const Digest&) const = default;

 private:
  Bytes bytes_{};
};

// Incremental SHA-256. Not thread-safe. Finish() may be called once.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void Update(std::string_view data);
  void Update(std::span<const std::byte> data) {
    Update(std::string_view(reinterpret_cast<const char*>(data.data()), data.size()));
  }
  Digest Finish();

 private:
  void* context_;  // EVP_MD_CTX
};

}  // namespace strata

template <>
struct std::hash<strata::Digest> {
  std::size_t operator()(const strata::Digest& digest) const noexcept;
};
