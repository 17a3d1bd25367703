#include "base/utf8.h"

#include <gtest/gtest.h>

namespace strata {
namespace {

std::string Json(std::string_view bytes) {
  std::string out;
  AppendJsonString(out, bytes);
  return out;
}

TEST(Utf8Test, EscapesForJson) {
  EXPECT_EQ(Json("a\"b\\c\n"), R"("a\"b\\c\u000a")");
  EXPECT_EQ(Json("\xc3\xa4"), "\"\xc3\xa4\"");
  EXPECT_EQ(Json("x\xffy"), R"("x\ufffdy")");
}

TEST(Utf8Test, EscapesControls) {
  EXPECT_EQ(EscapeControls("a\n\x1b[1m\x7f\xc3\xa4"), "a\\x0a\\x1b[1m\\x7f\xc3\xa4");
  EXPECT_EQ(EscapeControls("plain é name"), "plain é name");
  EXPECT_EQ(EscapeControls("\xc2\x9b"
                           "31m \xc2\xa0"),
            "\\xc2\\x9b"
            "31m \xc2\xa0");
  EXPECT_EQ(EscapeControls("\xc2"), "\xc2");
}

TEST(Utf8Test, RefusesOverlongAndSurrogates) {
  EXPECT_EQ(Utf8SequenceLength("\xc0\x80"), 0U);
  EXPECT_EQ(Utf8SequenceLength("\xe0\x80\x80"), 0U);
  EXPECT_EQ(Utf8SequenceLength("\xed\xa0\x80"), 0U);
  EXPECT_EQ(Utf8SequenceLength("\xf4\x90\x80\x80"), 0U);
  EXPECT_EQ(Utf8SequenceLength("\xf0\x9f\x99\x82"), 4U);
  EXPECT_EQ(Utf8SequenceLength("\xe2\x82"), 0U);
}

}  // namespace
}  // namespace strata
