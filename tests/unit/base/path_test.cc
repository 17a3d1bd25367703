#include "base/path.h"

#include <gtest/gtest.h>

namespace strata {
namespace {

TEST(PathTest, ComponentsAreSingleNames) {
  EXPECT_TRUE(PathComponent::Valid("a"));
  EXPECT_TRUE(PathComponent::Valid("\xff\xfe not utf-8"));
  EXPECT_TRUE(PathComponent::Valid(std::string(255, 'x')));
  for (const std::string& name : {std::string(), std::string("."), std::string(".."),
                                  std::string("a/b"), std::string("a\0b", 3)}) {
    const auto made = PathComponent::Make(name);
    ASSERT_FALSE(made) << name;
    EXPECT_EQ(made.error().code(), EINVAL);
  }
  const auto longer = PathComponent::Make(std::string(256, 'x'));
  ASSERT_FALSE(longer);
  EXPECT_EQ(longer.error().code(), ENAMETOOLONG);
}

TEST(PathTest, JoinsAndSplits) {
  EXPECT_EQ(JoinPath("", "a"), "a");
  EXPECT_EQ(JoinPath("a", "b"), "a/b");
  EXPECT_EQ(JoinPath("/", "b"), "/b");
  EXPECT_EQ(DirName("a/b"), "a");
  EXPECT_EQ(DirName("/a"), "/");
  EXPECT_EQ(DirName("a"), "");
  EXPECT_EQ(BaseName("a/b"), "b");
  EXPECT_EQ(BaseName("b"), "b");
}

}  // namespace
}  // namespace strata
