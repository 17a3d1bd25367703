#include "layerstore/fsck/expected_names.h"

#include <xxhash.h>

#include <algorithm>

#include "base/path.h"

namespace strata::layerstore {
namespace {

std::uint64_t HashOf(std::string_view path) { return XXH3_64bits(path.data(), path.size()); }

}  // namespace

void ExpectedNames::Add(std::string_view path, What what) {
  Name name;
  name.hash = HashOf(path);
  switch (what) {
    case What::kImplied:
      if (name.hash == last_implied_) return;  // names of one directory stand together
      last_implied_ = name.hash;
      name.own = true;
      break;
    case What::kWhiteout:
      ++count_;
      name.hides = true;
      break;
    case What::kOpaque:
      name.hides = true;
      break;
    case What::kDirectory:
    case What::kOther:
      name.last = ++count_;
      if (what == What::kOther) name.last_other = name.last;
      name.own = true;
      break;
  }
  names_.push_back(name);
}

void ExpectedNames::Finish() {
  std::ranges::stable_sort(names_, {}, &Name::hash);
  auto out = names_.begin();
  for (auto in = names_.begin(); in != names_.end(); ++in) {
    if (in == names_.begin() || in->hash != out->hash) {
      if (in != names_.begin()) ++out;
      *out = *in;
      continue;
    }
    out->repeated = out->repeated || (out->last != 0 && in->last != 0);
    out->last = std::max(out->last, in->last);
    out->last_other = std::max(out->last_other, in->last_other);
    out->own = out->own || in->own;
    out->hides = out->hides || in->hides;
  }
  if (!names_.empty()) names_.erase(out + 1, names_.end());
}

const ExpectedNames::Name* ExpectedNames::Find(std::string_view path) const {
  const std::uint64_t hash = HashOf(path);
  const auto it = std::ranges::lower_bound(names_, hash, {}, &Name::hash);
  return it != names_.end() && it->hash == hash ? &*it : nullptr;
}

bool ExpectedNames::Contains(std::string_view path) const { return Find(path) != nullptr; }

bool ExpectedNames::HasOwn(std::string_view path) const {
  const Name* name = Find(path);
  return name != nullptr && name->own;
}

bool ExpectedNames::Shows(std::string_view path, std::uint32_t ordinal) const {
  const Name* name = Find(path);
  if (name != nullptr && name->last > ordinal) return false;
  return Survives(DirName(path), ordinal);
}

bool ExpectedNames::Survives(std::string_view directory, std::uint32_t ordinal) const {
  for (; !directory.empty(); directory = DirName(directory)) {
    const Name* name = Find(directory);
    if (name != nullptr && name->last_other > ordinal) return false;
  }
  return true;
}

bool ExpectedNames::MayBeOpaque(std::string_view path) const {
  const Name* name = Find(path);
  return name != nullptr && (name->hides || name->repeated);
}

bool ExpectedNames::IsImplied(std::string_view path) const {
  const Name* name = Find(path);
  return name != nullptr && name->own && name->last == 0;
}

bool ExpectedNames::Once(std::string_view path) const {
  const Name* name = Find(path);
  return name != nullptr && name->last != 0 && !name->repeated;
}

}  // namespace strata::layerstore
