#include "base/error.h"

#include <gtest/gtest.h>

#include "base/try.h"

namespace strata {
namespace {

TEST(ErrorTest, KeepsTheErrnoAndTellsWhere) {
  const Error plain(ENOSPC, "pwrite");
  EXPECT_EQ(plain.code(), ENOSPC);
  EXPECT_EQ(plain.ToString(), "pwrite: No space left on device");
  Error detailed(ENOENT, "open", "lowerdir /a");
  EXPECT_EQ(std::move(detailed).WithContext("mount").ToString(),
            "mount: lowerdir /a: open: No such file or directory");
}

Result<int> Half(int value) {
  if (value % 2 != 0) return Fail(EINVAL, "half");
  return value / 2;
}

Result<int> Quarter(int value) {
  STRATA_TRY_ASSIGN(const int half, Half(value));
  STRATA_TRY(Half(half));
  return Half(half);
}

TEST(ErrorTest, TryPassesTheFirstFailureOn) {
  EXPECT_EQ(Quarter(8).value(), 2);
  ASSERT_FALSE(Quarter(6));
  EXPECT_EQ(Quarter(6).error().code(), EINVAL);
}

}  // namespace
}  // namespace strata
