// Upper layers that take no more, because they are full or their quota is used up: whatever fails,
// nothing is half done.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "tests/conformance/union_fixture.h"
#include "tests/support/process.h"
#include "tests/support/test_disk.h"

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

// A btrfs subvolume for the upper, whose quota binds root as well.
class Quota : public Full {
 protected:
  void SetUp() override {
    Full::SetUp();
    if (!support::KernelHas(support::Filesystem::kBtrfs)) GTEST_SKIP() << "no btrfs";
  }
  void HaveQuota(const std::string& bytes) {
    const auto disk = Must(support::TestDisk::Create(root_, "disk", support::Filesystem::kBtrfs));
    volume_ = disk.path() + "/volume";
    Must(support::RunTool({"btrfs", "subvolume", "create", volume_}));
    Must(support::RunTool({"btrfs", "quota", "enable", disk.path()}));
    Must(support::RunTool({"btrfs", "quota", "rescan", "-w", disk.path()}));
    PutUpperIn(volume_);
    Limit(bytes);
  }
  // "none" for no limit.
  void Limit(const std::string& bytes) const {
    Must(support::RunTool({"btrfs", "qgroup", "limit", bytes, volume_}));
  }
  // Writes to a file of the union until not even a name more is taken.
  void UseUp() const {
    const UniqueFd file = OpenFile(At("filler"), O_WRONLY | O_CREAT);
    const std::string block(4096, 'f');
    while (::write(file.get(), block.data(), block.size()) > 0) continue;
    EXPECT_EQ(errno, EDQUOT);
    int made = 0;
    while (::mkdir(At("filler" + std::to_string(made)).c_str(), 0755) == 0) ++made;
    EXPECT_EQ(errno, EDQUOT);
  }

  std::string volume_;
};

// What both say of data.
struct End {
  const char* name;
  int error;
};
constexpr End kEnds[] = {{"space", ENOSPC}, {"quota", EDQUOT}};

// Writes `block` over the file again and again, from its beginning, until that fails; `content`
// goes along.
int WriteOver(int file, std::string& content, const std::string& block) {
  for (std::size_t at = 0;;) {
    const ssize_t wrote = ::pwrite(file, block.data(), block.size(), static_cast<off_t>(at));
    if (wrote < 0) return errno;
    const auto length = static_cast<std::size_t>(wrote);
    if (content.size() < at + length) content.resize(at + length);
    content.replace(at, length, block, 0, length);
    at += length;
  }
}

class NoRoom : public Quota, public ::testing::WithParamInterface<End> {
 protected:
  void SetUp() override {
    if (GetParam().error == EDQUOT) {
      Quota::SetUp();
    } else {
      Full::SetUp();
    }
  }
  // Mounts with an upper that takes 3 MiB.
  void MountWithLittle(support::UnionSpec spec = {}) {
    if (GetParam().error == EDQUOT) {
      HaveQuota("3M");
      Mount(std::move(spec));
    } else {
      MountSmall("size=3m", std::move(spec));
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Ends, NoRoom, ::testing::ValuesIn(kEnds),
                         [](const auto& end) { return std::string(end.param.name); });

std::string Content(std::size_t size) {
  std::string text(size, 'x');
  for (std::size_t i = 0; i < size; i += 4096) text[i] = static_cast<char>('a' + i / 4096 % 26);
  return text;
}

TEST_P(NoRoom, AWriteTakesWhatFits) {
  MountWithLittle();
  std::string content;
  const UniqueFd file = OpenFile(At("new"), O_RDWR | O_CREAT);
  EXPECT_EQ(WriteOver(file.get(), content, std::string(100'000, 'n')), GetParam().error);
  EXPECT_GT(content.size(), 2 * kMebibyte);
  EXPECT_EQ(Lstat(At("new")).st_size, static_cast<off_t>(content.size()));
  EXPECT_TRUE(ReadFile(At("new")) == content);
  EXPECT_EQ(ErrnoOf(::fallocate(file.get(), 0, 0, 5 * kMebibyte)), GetParam().error);
  EXPECT_EQ(Lstat(At("new")).st_size, static_cast<off_t>(content.size()));
}

TEST_P(NoRoom, AFailedCopyUpLeavesTheLowerFile) {
  const std::string content = Content(5 * kMebibyte);
  MakeDir(Lower(0, "d"));
  WriteFile(Lower(0, "d/big"), content);
  WriteFile(Lower(0, "d/small"), "small");
  MountWithLittle({.options = IsStratafs() ? std::vector<std::string>{"partial=off"}
                                           : std::vector<std::string>{}});
  const UniqueFd reader = OpenFile(At("d/big"), O_RDONLY);
  for (const int round : {1, 2}) {
    // Kernel overlayfs copies at open.
    const UniqueFd writer(::open(At("d/big").c_str(), O_WRONLY | O_CLOEXEC));
    EXPECT_EQ(writer ? ErrnoOf(::pwrite(writer.get(), "new", 3, 0)) : errno, GetParam().error)
        << round;
    EXPECT_EQ(ErrnoOf(::truncate(At("d/big").c_str(), 4 * kMebibyte)), GetParam().error) << round;
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
TEST_P(NoRoom, AHalfCopiedFileIsWhole) {
  std::string content = Content(5 * kMebibyte);
  WriteFile(Lower(0, "big"), content);
  WriteFile(Lower(0, "small"), "small");
  if (!IsStratafs()) GTEST_SKIP() << "copies at once";
  MountWithLittle();
  UniqueFd writer = OpenFile(At("big"), O_RDWR);
  EXPECT_EQ(WriteOver(writer.get(), content, std::string(65536, 'n')), GetParam().error);
  EXPECT_TRUE(ReadFile(At("big")) == content);
  writer.reset();
  Unmount();
  Mount();
  EXPECT_TRUE(ReadFile(At("big")) == content);
  EXPECT_EQ(ReadFile(At("small")), "small");
}

// The larger the file, the larger the blocks: one is cut short in its middle.
TEST_F(Quota, AHalfWrittenBlockIsNone) {
  if (!IsStratafs()) GTEST_SKIP() << "copies at once";
  constexpr off_t kTebibyte = off_t{1} << 40;
  WriteFile(Lower(0, "huge"), std::string(8 * kMebibyte, 'l'));
  MustCall(::truncate(Lower(0, "huge").c_str(), kTebibyte), "truncate");
  HaveQuota("3M");
  // The fixture's digest would read all of it.
  const support::UnionSpec spec = Spec();
  layers_.clear();
  mount_ = Must(support::UnionMount::Start(support::DefaultMounter(), spec));
  const UniqueFd file = OpenFile(At("huge"), O_RDWR);
  std::string content;
  EXPECT_EQ(WriteOver(file.get(), content, std::string(100'000, 'n')), EDQUOT);
  ASSERT_LT(content.size(), 4 * kMebibyte);
  const std::string expected = content + std::string(8 * kMebibyte - content.size(), 'l');
  std::string got(expected.size(), '-');
  ASSERT_EQ(::pread(file.get(), got.data(), got.size(), 0), static_cast<ssize_t>(got.size()));
  EXPECT_TRUE(got == expected);
  EXPECT_EQ(Lstat(At("huge")).st_size, kTebibyte);
}

// All of these need a name or an inode, if not data.
TEST_F(Quota, WhatCannotBeMadeLeavesAllAsItWas) {
  const std::string content = Content(2 * kMebibyte);
  MakeDir(Lower(0, "d"));
  WriteFile(Lower(0, "d/f"), "f");
  WriteFile(Lower(0, "d/g"), "g");
  WriteFile(Lower(0, "d/big"), content);
  HaveQuota("1M");
  Mount();
  AppendFile(At("d/g"), "+");  // d and d/g are in the upper from now on
  UseUp();
  const auto before = UpperTree();
  EXPECT_EQ(ErrnoOf(::open(At("new").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644)), EDQUOT);
  EXPECT_EQ(ErrnoOf(::mkdir(At("new").c_str(), 0755)), EDQUOT);
  EXPECT_EQ(ErrnoOf(::symlink("target", At("new").c_str())), EDQUOT);
  EXPECT_EQ(ErrnoOf(::mknod(At("new").c_str(), S_IFIFO | 0644, 0)), EDQUOT);
  EXPECT_EQ(ErrnoOf(::link(At("d/g").c_str(), At("new").c_str())), EDQUOT);
  EXPECT_EQ(ErrnoOf(::rename(At("d/g").c_str(), At("d/h").c_str())), EDQUOT);
  EXPECT_EQ(ErrnoOf(::rename(At("d/f").c_str(), At("d/h").c_str())), EDQUOT);
  EXPECT_EQ(ErrnoOf(::unlink(At("d/f").c_str())), EDQUOT);  // it takes a whiteout
  EXPECT_EQ(ErrnoOf(::chmod(At("d/f").c_str(), 0600)), EDQUOT);
  EXPECT_EQ(ErrnoOf(::chmod(At("d/big").c_str(), 0600)), EDQUOT);
  EXPECT_EQ(ErrnoOf(::truncate(At("d/f").c_str(), 0)), EDQUOT);
  EXPECT_EQ(ErrnoOf(::truncate(At("d/big").c_str(), kMebibyte)), EDQUOT);
  EXPECT_EQ(UpperTree(), before);
  EXPECT_TRUE(Staged().empty());
  if (IsStratafs()) {
    // Kernel overlayfs mounts it read-only.
    Unmount();
    Mount();
    EXPECT_EQ(UpperTree(), before);
  }
  EXPECT_EQ(List(At("d")), (std::vector<std::string>{"big", "f", "g"}));
  EXPECT_EQ(ReadFile(At("d/f")), "f");
  EXPECT_EQ(ReadFile(At("d/g")), "g+");
  EXPECT_TRUE(ReadFile(At("d/big")) == content);
  for (const char* name : {"d/f", "d/big"}) EXPECT_EQ(Lstat(At(name)).st_mode & 0777, 0644U);

  // Names that no lower layer has go away without a whiteout, and make room.
  MustCall(::unlink(At("filler").c_str()), "unlink");
  Limit("none");
  MustCall(::chmod(At("d/big").c_str(), 0600), "chmod");
  MustCall(::rename(At("d/f").c_str(), At("d/h").c_str()), "rename");
  MustCall(::rename(At("d/g").c_str(), At("d/f").c_str()), "rename");
  EXPECT_EQ(ReadFile(At("d/h")), "f");
  EXPECT_EQ(ReadFile(At("d/f")), "g+");
  EXPECT_EQ(List(At("d")), (std::vector<std::string>{"big", "f", "h"}));
  EXPECT_TRUE(ReadFile(At("d/big")) == content);
}

TEST_F(Full, NoRoomForTheMarkOfVolatileIsSaidOfTheWorkDirectory) {
  if (!IsStratafs()) GTEST_SKIP() << "about stratafs";
  WriteFile(Lower(0, "f"), "f");
  MountSmall("size=3m,nr_inodes=10");
  Unmount();
  for (int i = 0; ErrnoOf(::mkdir((small_ + "/" + std::to_string(i)).c_str(), 0700)) == 0; ++i) {
    ASSERT_LT(i, 20);
  }
  auto mount =
      support::UnionMount::Start(support::Mounter::kStratafs, Spec({.options = {"volatile"}}));
  ASSERT_FALSE(mount.has_value());
  EXPECT_THAT(mount.error().ToString(),
              ::testing::HasSubstr("workdir " + Work() + ": mkdirat: No space left on device"));
  Mount();
  EXPECT_EQ(ReadFile(At("f")), "f");
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
  // Once the kernel has told that it forgot them (docs/limits.md).
  int wait = 0;
  while (ErrnoOf(::chmod(At("d/f").c_str(), 0600)) == ENOSPC && ++wait < 1000) ::usleep(5'000);
  EXPECT_EQ(Lstat(At("d/f")).st_mode & 0777, 0600U);
  EXPECT_EQ(ReadFile(At("d/f")), "f");
  EXPECT_EQ(UpperTree(), (std::vector<std::string>{"d", "d/f"}));
}

// With room for the copy, then for its entry in the index of link groups, then for its name.
TEST_F(Full, AGroupOfLinksThatFoundNoRoomIsCopiedUpOnceThereIs) {
  WriteFile(Lower(0, "a"), "old");
  MustCall(::link(Lower(0, "a").c_str(), Lower(0, "b").c_str()), "link");
  MountSmall("size=3m");
  const auto leave = [&](fsfilcnt_t room) {
    struct statvfs now{};
    MustCall(::statvfs(small_.c_str(), &now), "statvfs");
    const std::string limit = "nr_inodes=" + std::to_string(now.f_files - now.f_ffree + room);
    MustCall(::mount("none", small_.c_str(), "tmpfs", MS_REMOUNT, limit.c_str()), "remount");
  };
  int refused = 0;
  for (fsfilcnt_t room = 0; room < 8; ++room) {
    leave(room);
    const int error = ErrnoOf(::chmod(At("a").c_str(), 0600));
    if (error == 0) break;
    EXPECT_EQ(error, ENOSPC) << room;
    ++refused;
    EXPECT_TRUE(List(Work() + "/index").empty()) << room;
    EXPECT_TRUE(Staged().empty()) << room;
    EXPECT_TRUE(UpperTree().empty()) << room;
    EXPECT_EQ(Lstat(At("a")).st_nlink, 2U) << room;
  }
  EXPECT_GE(refused, 2);
  leave(100);
  AppendFile(At("a"), "1");
  AppendFile(At("b"), "2");
  Unmount();
  Mount();
  EXPECT_EQ(Lstat(At("b")).st_nlink, 2U);
  MustCall(::unlink(At("a").c_str()), "unlink");
  Unmount();
  Mount();
  EXPECT_EQ(ReadFile(At("b")), "old12");
  EXPECT_EQ(Lstat(At("b")).st_nlink, 1U);
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
