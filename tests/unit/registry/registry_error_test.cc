#include "manager/registry/registry_error.h"

#include <gtest/gtest.h>

namespace strata::manager {
namespace {

std::string Detail(int status, const std::string& body) {
  return std::string(
      MakeRegistryError("get x", {.status = status, .url = "", .headers = {}, .body = body})
          .detail());
}

TEST(RegistryError, CarriesTheRegistrysCodeAndMessage) {
  EXPECT_EQ(Detail(404, R"({"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]})"),
            "get x: 404 Not Found: MANIFEST_UNKNOWN: manifest unknown");
  EXPECT_EQ(Detail(400, R"({"errors":[{"code":"A"},{"message":"b"},7]})"),
            "get x: 400 Bad Request: A; b");
  EXPECT_EQ(Detail(403, R"({"details":"incorrect username or password"})"),
            "get x: 403 Forbidden: incorrect username or password");
}

TEST(RegistryError, StrangeBodiesAreShownShortAndHarmless) {
  EXPECT_EQ(Detail(500, ""), "get x: 500 Internal Server Error");
  EXPECT_EQ(Detail(502, "<html>\r\n\x1b[31mbad\xff gateway</html>"),
            "get x: 502 Bad Gateway: <html> [31mbad gateway</html>");
  EXPECT_LT(Detail(599, std::string(100'000, 'a')).size(), 300U);
  EXPECT_EQ(Detail(500, R"({"errors":"no list"})"),
            "get x: 500 Internal Server Error: {\"errors\":\"no list\"}");
}

TEST(RegistryError, StatusBecomesErrno) {
  EXPECT_EQ(ErrnoOfStatus(401), EACCES);
  EXPECT_EQ(ErrnoOfStatus(403), EACCES);
  EXPECT_EQ(ErrnoOfStatus(404), ENOENT);
  EXPECT_EQ(ErrnoOfStatus(429), EBUSY);
  EXPECT_EQ(ErrnoOfStatus(500), EREMOTEIO);
  EXPECT_EQ(ErrnoOfStatus(418), EINVAL);
  EXPECT_EQ(ErrnoOfStatus(302), EPROTO);
}

}  // namespace
}  // namespace strata::manager
