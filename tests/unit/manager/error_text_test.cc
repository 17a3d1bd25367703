#include "manager/container/error_text.h"

#include <gtest/gtest.h>

namespace strata::manager {
namespace {

TEST(ErrorText, SentencesStandAlone) {
  EXPECT_EQ(ErrorText(Error(ENOENT, "find container", "No such container: x")),
            "No such container: x");
}

TEST(ErrorText, SystemCallsHaveTheirReason) {
  EXPECT_EQ(ErrorText(Error(EACCES, "openat2", "/etc/passwd")),
            "/etc/passwd: openat2: Permission denied");
  EXPECT_EQ(ErrorText(Error(ENOTCONN, "write")), "write: Transport endpoint is not connected");
  EXPECT_EQ(ErrorText(Error(ENOENT, "bind").WithContext("a")),
            "a: bind: No such file or directory");
}

TEST(ErrorText, NothingIsSilent) { EXPECT_EQ(ErrorText(Error(EIO)), "Input/output error"); }

}  // namespace
}  // namespace strata::manager
