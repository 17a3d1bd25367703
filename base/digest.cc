#include "base/digest.h"

#include <openssl/evp.h>

#include <cstring>
#include <new>
#include <utility>

#include "base/hex.h"
#include "base/utf8.h"

namespace strata {
namespace {

constexpr std::string_view kPrefix = "sha256:";

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

EVP_MD_CTX* Context(void* context) { return static_cast<EVP_MD_CTX*>(context); }

}  // namespace

Result<Digest> Digest::FromHex(std::string_view hex) {
  Bytes bytes;
  if (hex.size() != 2 * kBytes) {
    return Fail(EINVAL, "digest", "'" + ShownText(hex) + "' is not 64 hex digits");
  }
  for (std::size_t i = 0; i < kBytes; ++i) {
    const int high = HexValue(hex[2 * i]);
    const int low = HexValue(hex[2 * i + 1]);
    if (high < 0 || low < 0) {
      return Fail(EINVAL, "digest", "'" + ShownText(hex) + "' is not 64 lower-case hex digits");
    }
    bytes[i] = static_cast<std::uint8_t>(high * 16 + low);
  }
  return Digest(bytes);
}

Result<Digest> Digest::Parse(std::string_view text) {
  if (!text.starts_with(kPrefix)) {
    return Fail(EINVAL, "digest", "'" + ShownText(text) + "' does not start with sha256:");
  }
  return FromHex(text.substr(kPrefix.size()));
}

Digest Digest::Of(std::string_view data) {
  Sha256 hash;
  hash.Update(data);
  return hash.Finish();
}

std::string Digest::Hex() const { return HexEncode(bytes_); }
std::string Digest::ToString() const { return std::string(kPrefix) + Hex(); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  if (context_ == nullptr || EVP_DigestInit_ex(Context(context_), EVP_sha256(), nullptr) != 1) {
    throw std::bad_alloc();
  }
}

Sha256::~Sha256() { EVP_MD_CTX_free(Context(context_)); }

Sha256::Sha256(Sha256&& other) noexcept : context_(std::exchange(other.context_, nullptr)) {}

Sha256& Sha256::operator=(Sha256&& other) noexcept {
  std::swap(context_, other.context_);
  return *this;
}

void Sha256::Update(std::string_view data) {
  if (EVP_DigestUpdate(Context(context_), data.data(), data.size()) != 1) throw std::bad_alloc();
}

Digest Sha256::Finish() {
  Digest::Bytes bytes;
  unsigned int length = 0;
  if (EVP_DigestFinal_ex(Context(context_), bytes.data(), &length) != 1) throw std::bad_alloc();
  return Digest(bytes);
}

}  // namespace strata

std::size_t std::hash<strata::Digest>::operator()(const strata::Digest& digest) const noexcept {
  std::size_t value = 0;
  std::memcpy(&value, digest.bytes().data(), sizeof value);
  return value;
}
