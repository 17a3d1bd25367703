// Limits by their names, and what errors say of them.
#include <gtest/gtest.h>

#include "layerstore/archive/unpack_options.h"
#include "tests/support/must.h"

namespace strata::layerstore {
namespace {

using support::Must;

TEST(LimitsTest, NumbersAndUnits) {
  UnpackLimits limits;
  Must(SetLimit(limits, "entries", "5"));
  EXPECT_EQ(limits.entries, 5U);
  Must(SetLimit(limits, "total-bytes", "2T"));
  EXPECT_EQ(limits.total_bytes, std::uint64_t{2} << 40U);
  Must(SetLimit(limits, "path-depth", "3K"));
  EXPECT_EQ(limits.path_depth, 3072U);
  Must(SetLimit(limits, "kept-bytes", "18446744073709551615"));
  EXPECT_EQ(limits.kept_bytes, ~std::uint64_t{0});
}

TEST(LimitsTest, EveryNameIsOne) {
  for (const std::string_view name : LimitNames()) {
    UnpackLimits limits;
    EXPECT_TRUE(SetLimit(limits, name, "77")) << name;
  }
}

TEST(LimitsTest, RefusesWhatIsNoLimit) {
  UnpackLimits limits;
  for (const char* value : {"", "0", "0K", "-1", "1.5", "x", "5k", "5KB", "5 ",
                            "18446744073709551616", "17179869184G"}) {
    const auto set = SetLimit(limits, "entries", value);
    ASSERT_FALSE(set) << value;
    EXPECT_EQ(set.error().code(), EINVAL) << value;
  }
  EXPECT_FALSE(SetLimit(limits, "path-depth", "4294967296"));
  EXPECT_FALSE(SetLimit(limits, "pending-directories", "5"));
  const auto unknown = SetLimit(limits, "entry\x1b", "5");
  ASSERT_FALSE(unknown);
  EXPECT_NE(
      unknown.error().detail().find("'entry\\x1b' is no limit; there are entries, total-bytes"),
      std::string_view::npos)
      << unknown.error().detail();
  EXPECT_EQ(limits.entries, UnpackLimits().entries);
}

TEST(LimitsTest, ErrorsSayWhatRaisesTheLimit) {
  UnpackLimits limits;
  EXPECT_EQ(OverLimit(limits, "unpack", "entries", 5, "entries").error().detail(),
            "more than 5 entries; the limit is entries=5");
  limits.setting = "stratad --layer-limit";
  EXPECT_EQ(OverLimit(limits, "unpack", "entries", 5, "entries").error().detail(),
            "more than 5 entries; the limit is entries=5 (stratad --layer-limit)");
}

TEST(LimitsTest, NoneIsMoreThanAny) {
  const UnpackLimits none = UnpackLimits::None();
  EXPECT_EQ(none.entries, ~std::uint64_t{0});
  EXPECT_EQ(none.path_bytes, ~std::uint32_t{0});
  EXPECT_EQ(none.pending_directories, UnpackLimits().pending_directories);
}

}  // namespace
}  // namespace strata::layerstore
