#include "base/private_directory.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
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

// A process that is killed leaves its own; another that is alive keeps its own.
TEST(PrivateDirectoryTest, RemovesWhatADeadProcessLeft) {
  constexpr const char* kPrefix = "strata-test-private-";
  const PrivateDirectory alive = Must(PrivateDirectory::Make(kPrefix));
  std::array<int, 2> pipe = {};
  MustCall(::pipe(pipe.data()), "pipe");
  const pid_t child = ::fork();
  MustCall(child, "fork");
  if (child == 0) {
    const PrivateDirectory left = Must(PrivateDirectory::Make(kPrefix));
    std::ofstream(left.path() + "/f") << "x";
    MustCall(::write(pipe[1], left.path().data(), left.path().size()), "write");
    ::raise(SIGKILL);
  }
  std::array<char, 4096> path = {};
  ::close(pipe[1]);
  MustCall(::read(pipe[0], path.data(), path.size() - 1), "read");
  ::close(pipe[0]);
  MustCall(::waitpid(child, nullptr, 0), "waitpid");
  ASSERT_TRUE(std::filesystem::exists(path.data()));

  const std::string foreign = std::string(kPrefix) + "of-somebody";
  const auto other = std::filesystem::path(alive.path()).parent_path() / foreign;
  std::filesystem::create_directory(other);
  const PrivateDirectory next = Must(PrivateDirectory::Make(kPrefix));
  EXPECT_FALSE(std::filesystem::exists(path.data()));
  EXPECT_TRUE(std::filesystem::exists(alive.path()));
  EXPECT_TRUE(std::filesystem::remove(other)) << "it has no name that Make() gives";
}

}  // namespace
}  // namespace strata
