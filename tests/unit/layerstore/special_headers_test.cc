// What stands in front of a tar entry is looked at before libarchive is let at it.
#include "layerstore/archive/special_headers.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "tests/unit/layerstore/recipe_fixture.h"
#include "tests/unit/layerstore/store_fixture.h"

namespace strata::layerstore {
namespace {

using support::Must;
using support::TarBuilder;
using support::TarMember;

// An ACL in as many entries as fit into `bytes`.
std::string AclText(std::size_t bytes) {
  std::string text = "user::rwx,group::r-x,other::r-x";
  for (int id = 1; text.size() < bytes; ++id) text += ",u:" + std::to_string(id) + ":r";
  return text.substr(0, text.rfind(','));
}

class SpecialHeadersTest : public RecipeTest {
 protected:
  static constexpr std::size_t kMax = SpecialHeaders::kAclTextMax;

  void ExpectRefused(const std::string& tar, const std::string& message) {
    for (const std::size_t chunk : {std::size_t{100}, std::size_t{512}, kChunk, tar.size()}) {
      EXPECT_TRUE(FailsWith(Unpack(tar, chunk), E2BIG, message)) << chunk;
    }
  }
};

TEST_F(SpecialHeadersTest, LongAclsAreRefused) {
  const std::string acl = AclText(std::size_t{900} * 1024);
  const auto before = std::chrono::steady_clock::now();
  for (const char* key : {"SCHILY.acl.access", "SCHILY.acl.default", "SCHILY.acl.ace"}) {
    ExpectRefused(TarBuilder().AddFile("f", "x").Add({.name = "g", .pax = {{key, acl}}}).Finish(),
                  "bytes of ACLs");
  }
  ExpectRefused(TarBuilder().Add({.name = "g", .type = 'A', .content = acl}).Finish(),
                "bytes of ACLs");
  // What is forbidden takes half a minute each.
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(10));
}

TEST_F(SpecialHeadersTest, AclsOfAllHeadersOfAnEntryCount) {
  const std::string half = "SCHILY.acl.access=" + AclText(kMax - 1000);
  const std::string record = std::to_string(half.size() + 7) + ' ' + half + '\n';
  ASSERT_EQ(std::to_string(record.size()), record.substr(0, record.find(' ')));
  TarBuilder twice;
  twice.Add({.name = "x", .type = 'x', .content = record});
  twice.Add({.name = "x", .type = 'x', .content = record}).AddFile("f", "");
  ExpectRefused(twice.Finish(), "bytes of ACLs");
}

TEST_F(SpecialHeadersTest, LongHeadersAreRefused) {
  const std::string longest(std::size_t{1} << 20U, 'n');
  for (const char type : {'x', 'g', 'L', 'K'}) {
    ExpectRefused(TarBuilder().Add({.name = "h", .type = type, .content = longest + "n"}).Finish(),
                  "extended header");
  }
}

// The next entry's headers are a new start, whatever came before it.
TEST_F(SpecialHeadersTest, EveryEntryStartsAnew) {
  TarBuilder tar;
  for (int i = 0; i < 100; ++i) {
    tar.Add({.name = "f" + std::to_string(i),
             .content = std::string(i == 50 ? 200'000 : static_cast<std::size_t>(i), 'x'),
             .pax = {{"comment", std::string(50'000, 'c')}, {"mtime", i == 7 ? "-1.5" : "5"}}});
  }
  for (const std::size_t chunk : {std::size_t{511}, kChunk}) {
    ExpectReplays(tar.Finish(), chunk);
    for (int i = 0; i < 100; ++i) {
      EXPECT_EQ(support::Lstat(layer_ + "/fs/f" + std::to_string(i)).st_mtim.tv_sec,
                i == 7 ? -2 : 5);
    }
  }
}

}  // namespace
}  // namespace strata::layerstore
