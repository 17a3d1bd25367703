#include "layerstore/objects/object_key.h"

#include <array>
#include <bit>
#include <cstring>

#include "base/hex.h"
#include "base/little.h"
#include "base/same_time.h"

namespace strata::layerstore {
namespace {

constexpr mode_t kPermissionBits = 07777;
constexpr std::size_t kFanOutDigits = 2;

// The bytes that are hashed are the same on every machine: a store may be moved.
struct HashedContent {
  Xxh128::Bytes start;
  Little<std::uint64_t> size;
};
struct HashedTraits {
  Xxh128::Bytes start;
  Little<std::uint64_t> size;
  Little<std::uint32_t> mode;
  Little<std::uint32_t> uid;
  Little<std::uint32_t> gid;
  Little<std::int64_t> mtime_sec;
  Little<std::uint32_t> mtime_nsec;
};
static_assert(sizeof(HashedContent) == 24 && alignof(HashedContent) == 1);
static_assert(sizeof(HashedTraits) == 48 && alignof(HashedTraits) == 1);

using HalfBytes = std::array<std::uint8_t, Xxh128::kBytes / 2>;

// The beginning of what the bytes hash to.
template <class Bytes>
std::uint64_t HalfOf(const Bytes& bytes) {
  return ObjectKey(Xxh128::Of({reinterpret_cast<const char*>(&bytes), sizeof bytes})).Content();
}

// -1 for anything else, capitals among it.
int DigitOf(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

bool ObjectTraits::Fit(const struct stat& st) const {
  return S_ISREG(st.st_mode) && static_cast<std::uint64_t>(st.st_size) == size &&
         (st.st_mode & kPermissionBits) == mode && st.st_uid == uid && st.st_gid == gid &&
         SameTime(st.st_mtim, mtime);
}

ObjectKey ObjectKey::Of(const ObjectTraits& traits, std::string_view start) {
  HashedContent content;
  content.start = Xxh128::Of(start).bytes();
  content.size = traits.size;
  HashedTraits hashed;
  hashed.start = content.start;
  hashed.size = content.size;
  hashed.mode = traits.mode;
  hashed.uid = traits.uid;
  hashed.gid = traits.gid;
  hashed.mtime_sec = traits.mtime.tv_sec;
  hashed.mtime_nsec = static_cast<std::uint32_t>(traits.mtime.tv_nsec);
  return {HalfOf(content), HalfOf(hashed)};
}

ObjectKey::ObjectKey(std::uint64_t content, std::uint64_t traits) {
  const auto halves = std::bit_cast<Xxh128::Bytes>(
      std::array{std::bit_cast<HalfBytes>(Little<std::uint64_t>(content)),
                 std::bit_cast<HalfBytes>(Little<std::uint64_t>(traits))});
  value_ = Xxh128(halves);
}

std::uint64_t ObjectKey::Half(std::size_t which) const {
  Little<std::uint64_t> half;
  std::memcpy(&half, value_.bytes().data() + which * sizeof half, sizeof half);
  return half;
}

ObjectKey ObjectKey::Next() const { return {Content(), HalfOf(value_.bytes())}; }

std::string ObjectKey::Path() const {
  std::string path = HexEncode(value_.bytes());
  path.insert(kFanOutDigits, 1, '/');
  return path;
}

std::optional<ObjectKey> ObjectKey::FromPath(std::string_view path) {
  if (path.size() != 2 * Xxh128::kBytes + 1 || path[kFanOutDigits] != '/') return std::nullopt;
  Xxh128::Bytes bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::size_t at = 2 * i < kFanOutDigits ? 2 * i : 2 * i + 1;
    const int high = DigitOf(path[at]);
    const int low = DigitOf(path[at + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    bytes[i] = static_cast<std::uint8_t>(high * 16 + low);
  }
  return ObjectKey{Xxh128(bytes)};
}

std::uint64_t RoomOf(std::uint64_t size) {
  constexpr std::uint64_t kBlock = 4096;
  return (size + kBlock - 1) / kBlock * kBlock;
}

}  // namespace strata::layerstore
