// Tars nobody would write, by thousands: what can be unpacked comes back byte by byte, and the
// layer is the one that is made without a recipe.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "tests/property/random.h"
#include "tests/support/tree_snapshot.h"
#include "tests/unit/layerstore/recipe_fixture.h"

namespace strata::layerstore {
namespace {

using property::Random;
using support::Must;
using support::TarBuilder;
using support::TarMember;

class RandomTar {
 public:
  explicit RandomTar(std::uint64_t seed) : random_(seed) {}

  std::string Make() {
    const auto members = random_.Between(1, 12);
    for (std::int64_t i = 0; i < members; ++i) Add();
    std::string tar = builder_.Finish();
    if (random_.Chance(10)) tar.resize(tar.size() - 1024);
    if (random_.Chance(20)) tar.append(random_.Below(3000), random_.Pick({'\0', 'r'}));
    return tar;
  }

  std::size_t Chunk(const std::string& tar) {
    constexpr std::size_t kReadsMax = 2000;
    return std::max(random_.Pick<std::size_t>({1, 100, 512, 1000, 4096, 65536}),
                    tar.size() / kReadsMax);
  }

 private:
  // Few names, so that they meet; mostly not where one is a file and the other a path through it.
  std::string Name() {
    if (random_.Chance(5)) return random_.Pick({"a/x", "d", "e/f/a/y"});
    return random_.Pick({"a", "b", "c", "d/a", "d/b", "e/f", "e/g/a", "e/g/b"});
  }
  std::string Target() {
    if (files_.empty() || random_.Chance(5)) return Name();
    return random_.Pick(files_);
  }

  std::string Content() {
    std::string content(random_.Chance(5) ? 100'000 + random_.Below(50'000)
                                          : random_.Pick<std::size_t>({0, 1, 511, 512, 513, 2000}),
                        random_.Pick({'x', 'y', '\0'}));
    if (!content.empty()) content.back() = static_cast<char>(random_.Next());
    return content;
  }

  void Add() {
    TarMember member{.name = Name(), .mode = 0755};
    switch (random_.Below(12)) {
      case 0:
        member.type = '5';
        member.name = random_.Pick({"d", "d", "e", "e/g", "a"});
        break;
      case 1:
        member.type = '2';
        member.name = "s";
        member.link = Name();
        break;
      case 2:
        member.type = '1';
        member.link = Target();
        break;
      case 3:  // a pax header makes its content count
        member.type = '1';
        member.link = Target();
        member.content = Content();
        member.pax = {{"comment", "a link with data"}};
        break;
      case 4:
        member.type = '6';
        break;
      case 5:
        member.name = ".wh." + Name().substr(0, 1);
        member.content = Content();
        break;
      case 6:
        member.name = random_.Pick({"d/.wh.", "e/g/.wh."});
        member.name += random_.Pick({"a", ".wh..opq", ".wh.aufs"});
        member.content = Content();
        break;
      case 7: {  // GNU.sparse.map: parts of the content and where they are
        const std::string data = Content();
        const std::size_t half = data.size() / 2;
        member.content = data;
        member.pax = {
            {"GNU.sparse.size", std::to_string(data.size() + 5000)},
            {"GNU.sparse.numblocks", "2"},
            {"GNU.sparse.map", "1000," + std::to_string(half) + "," + std::to_string(half + 3000) +
                                   "," + std::to_string(data.size() - half)}};
        break;
      }
      default:
        member.type = random_.Pick({'0', '0', '0', '\0', '7'});
        member.content = Content();
        files_.push_back(member.name);
        if (random_.Chance(20)) member.pax = {{"mtime", "-1.5"}, {"SCHILY.xattr.trusted.x", "1"}};
    }
    builder_.Add(member);
  }

  Random random_;
  TarBuilder builder_;
  std::vector<std::string> files_;
};

class RandomTarTest : public RecipeTest {
 protected:
  // In memory: ext4 takes a long time to make files while many were just removed.
  void SetUp() override {
    const std::string memory = Must(temp_.MakeDir("memory"));
    support::MustCall(::mount("tmpfs", memory.c_str(), "tmpfs", 0, "size=64m"), "mount");
    layer_ = memory + "/layer";
    plain_ = memory + "/plain";
    if (const char* seed = std::getenv("STRATA_SEED")) seed_ = std::strtoull(seed, nullptr, 0);
  }
  std::uint64_t seed_ = 1;
  std::string plain_;
};

TEST_F(RandomTarTest, ComesBackOrIsRefused) {
  constexpr std::uint64_t kCases = 2000;
  constexpr std::uint64_t kAcceptedMin = 50;  // percent
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  std::uint64_t cases = 0;
  std::uint64_t accepted = 0;
  for (; cases < kCases && std::chrono::steady_clock::now() < end && !HasFailure(); ++cases) {
    SCOPED_TRACE("STRATA_SEED=" + std::to_string(seed_ + cases));
    RandomTar random(seed_ + cases);
    const std::string tar = random.Make();
    const std::size_t chunk = random.Chunk(tar);
    support::CompareRules rules;
    rules.clock_since.emplace();
    support::MustCall(::clock_gettime(CLOCK_REALTIME_COARSE, &*rules.clock_since), "clock");
    Must(support::RemoveTree(plain_));
    const auto without = UnpackTo(plain_, tar, kChunk, {}, nullptr);
    const auto with = Unpack(tar, chunk);
    ASSERT_EQ(with.has_value(), without.has_value());
    if (!with) {
      EXPECT_EQ(with.error().ToString(), without.error().ToString());
      continue;
    }
    ++accepted;
    ExpectReplays(tar, chunk);
    EXPECT_EQ(support::Diff(Must(support::TreeSnapshot::Take(plain_)),
                            Must(support::TreeSnapshot::Take(layer_ + "/fs")), rules),
              "");
  }
  std::cout << cases << " cases, " << accepted << " of them accepted\n";
  EXPECT_GE(accepted * 100, cases * kAcceptedMin);
}

}  // namespace
}  // namespace strata::layerstore
