#include "manager/api/http_request.h"

#include <gtest/gtest.h>

namespace strata::manager {
namespace {

TEST(HttpRequest, TakesVersionQueryAndEscapesApart) {
  HttpRequest request;
  ASSERT_TRUE(
      ParseTarget("/v1.32/images/testcontainers%2Fryuk:0.3.3/json?all=1&f=a%20b+c", request));
  EXPECT_EQ(request.api_minor, 32);
  EXPECT_EQ(request.path, "/images/testcontainers/ryuk:0.3.3/json");
  EXPECT_TRUE(request.QueryFlag("all"));
  EXPECT_EQ(request.Query("f"), "a b c");
  EXPECT_FALSE(request.QueryFlag("absent"));
}

TEST(HttpRequest, WithoutVersionMeansTheNewest) {
  HttpRequest request;
  ASSERT_TRUE(ParseTarget("/volumes", request));
  EXPECT_EQ(request.api_minor, kApiMinorMax);
  EXPECT_EQ(request.path, "/volumes");
}

TEST(HttpRequest, RefusesWhatIsNoPath) {
  for (const char* target : {"", "volumes", "/a%", "/a%zz", "/a%00b", "/a?x=%4"}) {
    HttpRequest request;
    EXPECT_FALSE(ParseTarget(target, request)) << target;
  }
}

TEST(HttpRequest, IntegersMustBeWhole) {
  HttpRequest request;
  ASSERT_TRUE(ParseTarget("/x?good=-7&bad=7x", request));
  EXPECT_EQ(request.QueryInt("good", 0).value(), -7);
  EXPECT_FALSE(request.QueryInt("bad", 0));
  EXPECT_EQ(request.QueryInt("absent", 3).value(), 3);
}

TEST(HttpRequest, TimesHaveFractions) {
  HttpRequest request;
  ASSERT_TRUE(ParseTarget("/x?whole=1700000000&half=1700000000.5&fine=1.0000000019", request));
  EXPECT_EQ(request.QueryTime("whole", 0).value(), 1'700'000'000'000'000'000);
  EXPECT_EQ(request.QueryTime("half", 0).value(), 1'700'000'000'500'000'000);
  EXPECT_EQ(request.QueryTime("fine", 0).value(), 1'000'000'001);
  EXPECT_EQ(request.QueryTime("absent", -1).value(), -1);
  for (const char* text : {"-1", "1.-5", "x", ".5", "1.x", "99999999999", "1 "}) {
    request.query = {{"time", text}};
    EXPECT_FALSE(request.QueryTime("time", 0)) << text;
  }
}

}  // namespace
}  // namespace strata::manager
