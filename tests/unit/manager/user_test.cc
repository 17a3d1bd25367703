#include "manager/runtime/user.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "base/unique_fd.h"

namespace strata::manager {
namespace {

class UserTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = std::filesystem::temp_directory_path() / "strata-user.XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    std::filesystem::create_directory(directory_ + "/etc");
    root_ = UniqueFd(::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(directory_ + "/etc/" + name) << text;
  }

  std::string directory_;
  UniqueFd root_;
};

TEST_F(UserTest, FindsNamesNumbersAndGroups) {
  Write("passwd", "root:x:0:0::/root:/bin/sh\nbob:x:1000:100::/home/bob:/bin/sh\n");
  Write("group", "users:x:100:\nwheel:x:10:bob\n");
  const auto bob = ResolveUser(root_.get(), "bob", {});
  ASSERT_TRUE(bob);
  EXPECT_EQ(bob->uid, 1000U);
  EXPECT_EQ(bob->gid, 100U);
  EXPECT_EQ(bob->home, "/home/bob");
  EXPECT_EQ(bob->additional_gids, std::vector<gid_t>{10});
  EXPECT_EQ(ResolveUser(root_.get(), "bob:wheel", {})->gid, 10U);
  EXPECT_EQ(ResolveUser(root_.get(), "77:88", {})->uid, 77U);
  EXPECT_EQ(ResolveUser(root_.get(), "", {})->home, "/root");
  EXPECT_FALSE(ResolveUser(root_.get(), "nobody-here", {}));
  EXPECT_FALSE(ResolveUser(root_.get(), "bob:no-group", {}));
  EXPECT_FALSE(ResolveUser(root_.get(), "4294967295", {}));
}

TEST_F(UserTest, StaysInsideTheRootAndDoesNotHang) {
  std::filesystem::create_symlink("/../../../../etc/passwd", directory_ + "/etc/passwd");
  EXPECT_FALSE(ResolveUser(root_.get(), "daemon", {}));  // a loop inside, not the host's file
  std::filesystem::remove(directory_ + "/etc/passwd");
  ASSERT_EQ(::mkfifo((directory_ + "/etc/passwd").c_str(), 0600), 0);
  EXPECT_FALSE(ResolveUser(root_.get(), "root", {}));
}

}  // namespace
}  // namespace strata::manager
