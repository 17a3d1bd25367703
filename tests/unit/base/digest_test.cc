#include "base/digest.h"

#include <gtest/gtest.h>

namespace strata {
namespace {

// FIPS 180-2, appendix B.1.
constexpr char kAbc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST(DigestTest, HashesTheStandardVector) {
  EXPECT_EQ(Digest::Of("abc").Hex(), kAbc);
  Sha256 pieces;
  pieces.Update("a");
  pieces.Update("bc");
  EXPECT_EQ(pieces.Finish(), Digest::Of("abc"));
}

TEST(DigestTest, ParsesWhatItPrints) {
  const Digest digest = Digest::Of("abc");
  const auto parsed = Digest::Parse(digest.ToString());
  ASSERT_TRUE(parsed);
  EXPECT_EQ(*parsed, digest);
  EXPECT_EQ(digest.Short(), std::string(kAbc).substr(0, 12));
  EXPECT_FALSE(digest.empty());
  EXPECT_TRUE(Digest().empty());
}

TEST(DigestTest, RefusesWhatCouldBecomeAPath) {
  const std::string upper = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";
  for (const std::string& text :
       {std::string(), std::string("sha256:"), std::string("sha256:../../x"),
        std::string("md5:") + kAbc, std::string("sha256:") + kAbc + "0", "sha256:" + upper,
        std::string(kAbc)}) {
    const auto parsed = Digest::Parse(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code(), EINVAL);
  }
}

}  // namespace
}  // namespace strata
