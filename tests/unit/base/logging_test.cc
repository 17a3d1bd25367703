#include "base/logging.h"

#include <gtest/gtest.h>

namespace strata::log {
namespace {

TEST(LoggingTest, ParsesLevelsAndFormats) {
  EXPECT_EQ(ParseLevel("debug").value(), Level::kDebug);
  EXPECT_EQ(ParseFormat("json").value(), Format::kJson);
  EXPECT_FALSE(ParseLevel("loud"));
  EXPECT_FALSE(ParseFormat("xml"));
}

TEST(LoggingTest, WritesFieldsAsTextAndAsJson) {
  testing::internal::CaptureStderr();
  Configure("test", Level::kInfo, Format::kText);
  Info("mounted", {{"path", "/a b"}, {"layers", 3}, {"ro", true}});
  Debug("not shown");
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("mounted path=\"/a b\" layers=3 ro=true"), std::string::npos) << text;
  EXPECT_EQ(text.find("not shown"), std::string::npos);

  testing::internal::CaptureStderr();
  Configure("test", Level::kInfo, Format::kJson);
  Warn("odd \"name\"", {{"name", std::string_view("x\xff")}, {"code", -5}});
  const std::string json = testing::internal::GetCapturedStderr();
  EXPECT_NE(json.find(R"("message":"odd \"name\"","name":"x\ufffd","code":-5})"), std::string::npos)
      << json;
}

}  // namespace
}  // namespace strata::log
