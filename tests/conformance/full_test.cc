// Upper layers that take no more: whatever fails, nothing is half done.
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/conformance/union_fixture.h"

namespace strata::conformance {
namespace {

constexpr std::size_t kMebibyte = std::size_t{1} << 20;

class Full : public UnionTest {
 protected:
  void TearDown() override {
    UnionTest::TearDown();
    if (small_.empty()) return;
    EXPECT_EQ(::umount2(small_.c_str(), 0), 0) << errno;
  }
  // Mounts with an upper of a few MiB; `options` are tmpfs's.
  void MountSmall(const std::string& options, support::UnionSpec spec = {}) {
    small_ = Must(root_.MakeDir("small"));
    MustCall(::mount("none", small_.c_str(), "tmpfs", 0, options.c_str()), "mount tmpfs");
    PutUpperIn(small_);
    Mount(std::move(spec));
  }
  std::vector<std::string> Staged() const { return LeftInWork(Work()); }

  std::string small_;
};

std::string Content(std::size_t size) {
  std::string text(size, 'x');
  for (std::size_t i = 0; i < size; i += 4096) text[i] = static_cast<char>('a' + i / 4096 % 26);
  return text;
}

TEST_F(Full, AFailedCopyUpLeavesTheLowerFile) {
  const std::string content = Content(5 * kMebibyte);
  MakeDir(Lower(0, "d"));
  WriteFile(Lower(0, "d/big"), content);
  WriteFile(Lower(0, "d/small"), "small");
  MountSmall("size=3m", {.options = IsStratafs() ? std::vector<std::string>{"partial=off"}
                                                 : std::vector<std::string>{}});
  const UniqueFd reader = OpenFile(At("d/big"), O_RDONLY);
  for (const int round : {1, 2}) {
    // Kernel overlayfs copies at open.
    const UniqueFd writer(::open(At("d/big").c_str(), O_WRONLY | O_CLOEXEC));
    EXPECT_EQ(writer ? ErrnoOf(::pwrite(writer.get(), "new", 3, 0)) : errno, ENOSPC) << round;
    EXPECT_EQ(ErrnoOf(::truncate(At("d/big").c_str(), 4 * kMebibyte)), ENOSPC) << round;
    EXPECT_TRUE(ReadFile(At("d/big")) == content) << round;
    EXPECT_TRUE(Staged().empty()) << round;
    EXPECT_FALSE(Exists(Upper("d/big"))) << round;
  }
  // The rest of the union goes on.
  AppendFile(At("d/small"), "+");
  EXPECT_EQ(ReadFile(At("d/small")), "small+");
  EXPECT_EQ(List(At("d")), (std::vector<std::string>{"big", "small"}));
}

// Copied block by block, the file takes what there is room for, and reads whole all the time.
TEST_F(Full, AHalfCopiedFileIsWholeWithoutRoom) {
  std::string content = Content(5 * kMebibyte);
  WriteFile(Lower(0, "big"), content);
  WriteFile(Lower(0, "small"), "small");
  if (!IsStratafs()) GTEST_SKIP() << "copies at once";
  MountSmall("size=3m");
  UniqueFd writer = OpenFile(At("big"), O_RDWR);
  int error = 0;
  for (std::size_t at = 0; at < content.size() && error == 0; at += 65536) {
    const std::string block(65536, 'n');
    const ssize_t wrote =
        ::pwrite(writer.get(), block.data(), block.size(), static_cast<off_t>(at));
    if (wrote < 0) {
      error = errno;
    } else {
      content.replace(at, static_cast<std::size_t>(wrote), block, 0,
                      static_cast<std::size_t>(wrote));
    }
  }
  EXPECT_EQ(error, ENOSPC);
  EXPECT_TRUE(ReadFile(At("big")) == content);
  writer.reset();
  Unmount();
  Mount();
  EXPECT_TRUE(ReadFile(At("big")) == content);
  EXPECT_EQ(ReadFile(At("small")), "small");
}

TEST_F(Full, NoInodeIsLeft) {
  MakeDir(Lower(0, "d"));
  WriteFile(Lower(0, "d/f"), "f");
  WriteFile(Lower(0, "d/g"), "g");
  MountSmall("size=3m,nr_inodes=12");
  std::vector<std::string> made;
  int error = 0;
  for (int i = 0; i < 20 && error == 0; ++i) {
    const std::string name = "n" + std::to_string(i);
    const UniqueFd fd(::open(At(name).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    if (fd) {
      made.push_back(name);
    } else {
      error = errno;
    }
  }
  EXPECT_EQ(error, ENOSPC);
  EXPECT_EQ(ErrnoOf(::chmod(At("d/f").c_str(), 0600)), ENOSPC);
  EXPECT_EQ(ErrnoOf(::mkdir(At("x").c_str(), 0755)), ENOSPC);
  EXPECT_EQ(ErrnoOf(::rename(At("d/f").c_str(), At("d/h").c_str())), ENOSPC);
  EXPECT_EQ(ErrnoOf(::link(At("d/f").c_str(), At("l").c_str())), ENOSPC);
  EXPECT_TRUE(Staged().empty());
  EXPECT_EQ(List(At("d")), (std::vector<std::string>{"f", "g"}));
  EXPECT_EQ(Lstat(At("d/f")).st_mode & 0777, 0644U);
  for (const std::string& name : made) MustCall(::unlink(At(name).c_str()), "unlink");
  MustCall(::chmod(At("d/f").c_str(), 0600), "chmod");
  EXPECT_EQ(ReadFile(At("d/f")), "f");
  EXPECT_EQ(UpperTree(), (std::vector<std::string>{"d", "d/f"}));
}

// The limit is the writer's, not the daemon's.
TEST_F(Full, FileSizeLimitsAreTheWriters) {
  WriteFile(Lower(0, "f"), Content(100'000));
  WriteFile(root_.At("native"), Content(100'000));
  MountSmall("size=3m");
  const auto try_beyond = [](const std::string& path) {
    return AsUser(0, [&] {
      ::signal(SIGXFSZ, SIG_IGN);
      const rlimit limit = {150'000, 150'000};
      if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 200;
      const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
      if (fd < 0) return 201;
      if (::pwrite(fd, "x", 1, 149'999) != 1) return 202;
      if (::pwrite(fd, "xy", 2, 149'999) != 1) return 203;
      if (ErrnoOf(::pwrite(fd, "x", 1, 150'000)) != EFBIG) return 204;
      if (ErrnoOf(::ftruncate(fd, 150'001)) != EFBIG) return 205;
      if (ErrnoOf(::fallocate(fd, 0, 0, 150'001)) != EFBIG) return 206;
      return 0;
    });
  };
  EXPECT_EQ(try_beyond(root_.At("native")), 0);
  EXPECT_EQ(try_beyond(At("f")), 0);
  EXPECT_EQ(Lstat(At("f")).st_size, 150'000);
}

TEST_F(Full, OffsetsBeyondAnyFileAreRefused) {
  WriteFile(Lower(0, "f"), "x");
  Mount();
  const UniqueFd native = OpenFile(root_.At("native"), O_RDWR | O_CREAT);
  const UniqueFd file = OpenFile(At("f"), O_RDWR);
  constexpr off_t kFar = std::numeric_limits<off_t>::max();
  EXPECT_EQ(ErrnoOf(::pwrite(file.get(), "x", 1, kFar)),
            ErrnoOf(::pwrite(native.get(), "x", 1, kFar)));
  EXPECT_EQ(ErrnoOf(::ftruncate(file.get(), kFar)), ErrnoOf(::ftruncate(native.get(), kFar)));
  EXPECT_EQ(Lstat(At("f")).st_size, 1);
}

}  // namespace
}  // namespace strata::conformance
