#include "base/private_directory.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>

#include "tests/support/must.h"

namespace strata {
namespace {

using support::Must;
using support::MustCall;

TEST(PrivateDirectoryTest, GoesWithAllInIt) {
  std::string path;
  {
    const PrivateDirectory directory = Must(PrivateDirectory::Make("strata-test-private-"));
    path = directory.path();
    EXPECT_TRUE(
        std::filesystem::path(path).filename().string().starts_with("strata-test-private-"));
    struct stat st = {};
    MustCall(::stat(path.c_str(), &st), "stat");
    EXPECT_EQ(st.st_mode & 07777U, 0700U);
    std::filesystem::create_directories(path + "/a/b");
    std::ofstream(path + "/a/b/f") << "x";
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(PrivateDirectoryTest, GoesOnceWhenItIsMoved) {
  auto first = std::optional(Must(PrivateDirectory::Make("strata-test-private-")));
  const std::string path = first->path();
  auto second = std::optional(std::move(*first));
  first.reset();
  EXPECT_TRUE(std::filesystem::exists(path));
  second.reset();
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace strata
