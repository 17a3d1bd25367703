#include "tests/property/generator_names.h"

#include <algorithm>

#include "base/path.h"
#include "tests/support/xattrs.h"

namespace strata::property {
namespace {

constexpr std::size_t kMaxPath = 900;  // deep trees cost time and find nothing new

}  // namespace

std::string NamePool::Name() {
  static const std::vector<std::string> kCommon = {"a", "b", "c", "d", "e"};
  static const std::vector<std::string> kAwkward = {
      "f\xff\x80", "x y", "%41#", std::string(200, 'n'), "\xc3\xa4", ".hidden", "back\\slash:,"};
  return random_.Chance(88) ? random_.Pick(kCommon) : random_.Pick(kAwkward);
}

std::string NamePool::KnownDir() {
  return dirs_.empty() || random_.Chance(15) ? Name() : random_.Pick(dirs_);
}

std::string NamePool::KnownFile() {
  return files_.empty() || random_.Chance(10) ? Path() : random_.Pick(files_);
}

std::string NamePool::NewPath() {
  if (dirs_.empty() || random_.Chance(25)) return Name();
  const std::string dir = random_.Pick(dirs_);
  return dir.size() > kMaxPath ? Name() : JoinPath(dir, Name());
}

std::string NamePool::Path() {
  const std::uint64_t roll = random_.Below(100);
  if (roll < 45 && !files_.empty()) return random_.Pick(files_);
  if (roll < 75 && !dirs_.empty()) return random_.Pick(dirs_);
  if (roll < 95) return NewPath();
  return JoinPath(Name(), JoinPath(Name(), Name()));
}

void NamePool::Add(std::vector<std::string>& list, const std::string& path) {
  if (std::ranges::find(list, path) == list.end()) list.push_back(path);
}

void NamePool::MoveIn(std::vector<std::string>& list, const std::string& from,
                      const std::string& to) {
  const std::size_t count = list.size();
  for (std::size_t i = 0; i < count; ++i) {
    if (list[i] == from) {
      Add(list, to);
    } else if (list[i].starts_with(from + "/") && list[i].size() < kMaxPath) {
      Add(list, to + list[i].substr(from.size()));
    }
  }
}

void NamePool::Move(const std::string& from, const std::string& to) {
  MoveIn(dirs_, from, to);
  MoveIn(files_, from, to);
}

mode_t RandomFileMode(Random& random) {
  return random.Pick<mode_t>({0644, 0644, 0644, 0600, 0666, 0755, 04755, 02755, 02644, 0444, 0});
}

mode_t RandomDirMode(Random& random) {
  return random.Pick<mode_t>({0755, 0755, 0755, 0777, 0777, 01777, 02775, 0700, 0555});
}

uid_t RandomOwner(Random& random) { return random.Pick<uid_t>({0, 0, 0, 1000, 1000, 1001}); }

std::int64_t RandomTime(Random& random) {
  return 1'000'000'000'000'000'000 + random.Between(0, 500'000'000'000'000'000);
}

NamedXattr RandomXattr(Random& random) {
  using support::AclEntry;
  constexpr unsigned kNone = ~0U;
  const auto perm = [&random] { return static_cast<unsigned short>(random.Below(8)); };
  switch (random.Below(9)) {
    case 0:
      return {"trusted.t", "trusted value"};
    case 1:
      return {"security.capability", support::EncodeCapability(1U << random.Below(20))};
    case 2:
      return {"system.posix_acl_access", support::EncodeAcl({{1, 7, kNone},
                                                             {2, perm(), 1000},
                                                             {4, perm(), kNone},
                                                             {16, perm(), kNone},
                                                             {32, perm(), kNone}})};
    case 3:
      return {"system.posix_acl_default", support::EncodeAcl({{1, 7, kNone},
                                                              {2, perm(), 1001},
                                                              {4, perm(), kNone},
                                                              {8, perm(), 1000},
                                                              {16, perm(), kNone},
                                                              {32, perm(), kNone}})};
    case 4:
      return {"user.empty", ""};
    case 5:
      return {"user.binary", std::string("\0\xff\n%", 4)};
    default:
      return {random.Chance(50) ? "user.a" : "user.b",
              std::string(random.Below(60) + 1, static_cast<char>('a' + random.Below(26)))};
  }
}

}  // namespace strata::property
