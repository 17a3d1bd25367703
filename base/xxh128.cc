#include "base/xxh128.h"

#include <xxhash.h>
#ifdef __x86_64__
#include <xxh_x86dispatch.h>  // the same functions, by AVX where the processor has it
#endif

#include <algorithm>
#include <iterator>
#include <new>

namespace strata {
namespace {

Xxh128 Canonical(XXH128_hash_t hash) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  Xxh128::Bytes bytes;
  static_assert(sizeof canonical.digest == Xxh128::kBytes);
  std::copy(std::begin(canonical.digest), std::end(canonical.digest), bytes.begin());
  return Xxh128(bytes);
}

}  // namespace

Xxh128 Xxh128::Of(std::string_view data) {
  return Canonical(XXH3_128bits(data.data(), data.size()));
}

struct Xxh128Hasher::State {
  State() {
    if (xxh == nullptr) throw std::bad_alloc();
    XXH3_128bits_reset(xxh);
  }
  ~State() { XXH3_freeState(xxh); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  XXH3_state_t* xxh = XXH3_createState();
};

Xxh128Hasher::Xxh128Hasher() : state_(std::make_unique<State>()) {}
Xxh128Hasher::~Xxh128Hasher() = default;

void Xxh128Hasher::Update(std::string_view data) {
  XXH3_128bits_update(state_->xxh, data.data(), data.size());
}

Xxh128 Xxh128Hasher::Finish() {
  const Xxh128 result = Canonical(XXH3_128bits_digest(state_->xxh));
  XXH3_128bits_reset(state_->xxh);
  return result;
}

}  // namespace strata
