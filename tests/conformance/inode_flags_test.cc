// Inode flags (chattr) and what statx(2) tells beyond stat(2).
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/conformance/union_fixture.h"

namespace strata::conformance {
namespace {

class InodeFlags : public UnionTest {
 protected:
  static unsigned Get(const std::string& path) {
    const UniqueFd fd = OpenFile(path, O_RDONLY);
    unsigned flags = 0;
    MustCall(::ioctl(fd.get(), FS_IOC_GETFLAGS, &flags), "FS_IOC_GETFLAGS");
    return flags;
  }
  static int Set(const std::string& path, unsigned flags) {
    const UniqueFd fd = OpenFile(path, O_RDONLY);
    return ErrnoOf(::ioctl(fd.get(), FS_IOC_SETFLAGS, &flags));
  }
  static bool Has(const std::string& path, unsigned flag) { return (Get(path) & flag) != 0; }
  // What the calls that would change a file say.
  static std::vector<int> TryChanges(const std::string& path) {
    return {
        OpenErrno(path, O_WRONLY),
        OpenErrno(path, O_RDWR),
        OpenErrno(path, O_WRONLY | O_APPEND),
        OpenErrno(path, O_WRONLY | O_TRUNC),
        ErrnoOf(::truncate(path.c_str(), 0)),
        ErrnoOf(::chmod(path.c_str(), 0600)),
        ErrnoOf(::chown(path.c_str(), 1, 1)),
        ErrnoOf(::utimensat(AT_FDCWD, path.c_str(), kTimes, 0)),
        ErrnoOf(::link(path.c_str(), (path + ".link").c_str())),
        ErrnoOf(::rename(path.c_str(), (path + ".moved").c_str())),
        ErrnoOf(::unlink(path.c_str())),
        OpenErrno(path, O_RDONLY),
    };
  }

 private:
  static constexpr struct timespec kTimes[2] = {{.tv_sec = 1, .tv_nsec = 0},
                                                {.tv_sec = 1, .tv_nsec = 0}};
  static int OpenErrno(const std::string& path, int flags) {
    const UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC));
    return fd ? 0 : errno;
  }
};

// Takes the flags away again: a test's files must be removable.
class Protected {
 public:
  explicit Protected(std::string path) : path_(std::move(path)) {}
  ~Protected() {
    const UniqueFd fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    unsigned flags = 0;
    if (!fd || ::ioctl(fd.get(), FS_IOC_GETFLAGS, &flags) != 0) return;
    flags &= ~unsigned{FS_IMMUTABLE_FL | FS_APPEND_FL};
    EXPECT_EQ(::ioctl(fd.get(), FS_IOC_SETFLAGS, &flags), 0) << path_;
  }

 private:
  std::string path_;
};

TEST_F(InodeFlags, ProtectAFileAsNatively) {
  if (IsKernel()) GTEST_SKIP() << "the same, but the flags are kept in an xattr of the upper file";
  WriteFile(Lower(0, "lower"), "x");
  MakeDir(root_.At("native"));
  Mount();
  WriteFile(At("upper"), "x");
  for (const unsigned flag : {unsigned{FS_IMMUTABLE_FL}, unsigned{FS_APPEND_FL}}) {
    const std::string native = root_.At("native/f");
    WriteFile(native, "x");
    const Protected native_end(native);
    ASSERT_EQ(Set(native, Get(native) | flag), 0);
    const std::vector<int> right = TryChanges(native);
    for (const char* name : {"lower", "upper"}) {
      const Protected end(Upper(name));
      ASSERT_EQ(Set(At(name), Get(At(name)) | flag), 0) << name;
      EXPECT_TRUE(Has(At(name), flag)) << name;
      EXPECT_TRUE(Has(Upper(name), flag)) << name;
      EXPECT_EQ(TryChanges(At(name)), right) << name << ' ' << flag;
      EXPECT_EQ(ReadFile(At(name)), "x") << name;
      ASSERT_EQ(Set(At(name), Get(At(name)) & ~flag), 0) << name;
      EXPECT_FALSE(Has(At(name), flag)) << name;
      AppendFile(At(name), "y");
      WriteFile(At(name), "x");
    }
  }
  EXPECT_EQ(List(At()), (std::vector<std::string>{"lower", "upper"}));
  EXPECT_TRUE(LeftInWork(Work()).empty());
}

TEST_F(InodeFlags, AppendOnlyFilesCanBeAppendedTo) {
  if (IsKernel()) GTEST_SKIP() << "see above";
  Mount();
  WriteFile(At("log"), "1");
  const Protected end(Upper("log"));
  ASSERT_EQ(Set(At("log"), Get(At("log")) | FS_APPEND_FL), 0);
  AppendFile(At("log"), "2");
  AppendFile(At("log"), "3");
  EXPECT_EQ(ReadFile(At("log")), "123");
}

TEST_F(InodeFlags, OfLowerFilesCopyThemUp) {
  WriteFile(Lower(0, "f"), std::string(300'000, 'x'));
  MakeDir(Lower(0, "d"));
  Mount();
  const unsigned before = Get(At("f"));
  EXPECT_TRUE(UpperTree().empty());
  ASSERT_EQ(Set(At("f"), before | FS_NODUMP_FL | FS_NOATIME_FL), 0);
  EXPECT_TRUE(Has(At("f"), FS_NODUMP_FL) || IsKernel());
  EXPECT_TRUE(Has(At("f"), FS_NOATIME_FL));
  EXPECT_EQ(ReadFile(At("f")), std::string(300'000, 'x'));
  ASSERT_EQ(Set(At("d"), Get(At("d")) | FS_NOATIME_FL), 0);
  EXPECT_TRUE(Has(At("d"), FS_NOATIME_FL));
  EXPECT_EQ(UpperTree(), (std::vector<std::string>{"d", "f"}));
}

TEST_F(InodeFlags, ComeInBothForms) {
  WriteFile(Lower(0, "f"), "x");
  Mount();
  const UniqueFd fd = OpenFile(At("f"), O_RDONLY);
  fsxattr flags = {};
  ASSERT_EQ(::ioctl(fd.get(), FS_IOC_FSGETXATTR, &flags), 0);
  flags.fsx_xflags |= FS_XFLAG_NOATIME;
  ASSERT_EQ(::ioctl(fd.get(), FS_IOC_FSSETXATTR, &flags), 0);
  fsxattr now = {};
  ASSERT_EQ(::ioctl(fd.get(), FS_IOC_FSGETXATTR, &now), 0);
  EXPECT_NE(now.fsx_xflags & FS_XFLAG_NOATIME, 0U);
  EXPECT_TRUE(Has(At("f"), FS_NOATIME_FL));
  unsigned nothing = 0;
  EXPECT_EQ(ErrnoOf(::ioctl(fd.get(), _IOWR('x', 77, unsigned), &nothing)), ENOTTY);
}

TEST_F(InodeFlags, AreTheOwnersToChange) {
  WriteFile(Lower(0, "f"), "x", 0666);
  Mount();
  EXPECT_EQ(AsUser(1234,
                   [&] {
                     const int fd = ::open(At("f").c_str(), O_RDONLY | O_CLOEXEC);
                     unsigned flags = FS_NOATIME_FL;
                     return ErrnoOf(::ioctl(fd, FS_IOC_SETFLAGS, &flags));
                   }),
            EPERM);
  EXPECT_TRUE(UpperTree().empty());
}

struct statx Statx(const std::string& path) {
  struct statx info = {};
  MustCall(::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW,
                   STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID, &info),
           "statx");
  return info;
}

TEST_F(InodeFlags, BirthTimesAreThoseOfTheFileThatHoldsTheData) {
  WriteFile(Lower(0, "lower"), "x");
  MakeDir(Lower(0, "dir"));
  MustCall(::symlink("lower", Lower(0, "link").c_str()), "symlink");
  Mount();
  WriteFile(At("upper"), "y");
  const auto same = [](const struct statx& a, const struct statx& b) {
    return a.stx_btime.tv_sec == b.stx_btime.tv_sec && a.stx_btime.tv_nsec == b.stx_btime.tv_nsec;
  };
  for (const char* name : {"lower", "dir", "link"}) {
    const struct statx shown = Statx(At(name));
    EXPECT_NE(shown.stx_mask & STATX_BTIME, 0U) << name;
    EXPECT_TRUE(same(shown, Statx(Lower(0, name)))) << name;
    struct stat st = Lstat(At(name));
    EXPECT_EQ(shown.stx_ino, st.st_ino) << name;
    EXPECT_EQ(shown.stx_mode, st.st_mode) << name;
    EXPECT_EQ(shown.stx_nlink, st.st_nlink) << name;
    EXPECT_EQ(shown.stx_mtime.tv_nsec, st.st_mtim.tv_nsec) << name;
  }
  EXPECT_TRUE(same(Statx(At("upper")), Statx(Upper("upper"))));
  AppendFile(At("lower"), "z");
  EXPECT_EQ(Statx(At("lower")).stx_size, 2U);
}

TEST_F(InodeFlags, MountIdsAreTheMounts) {
  WriteFile(Lower(0, "f"), "x");
  Mount();
  WriteFile(At("g"), "x");
  const struct statx root = Statx(At());
  ASSERT_NE(root.stx_mask & STATX_MNT_ID, 0U);
  EXPECT_EQ(Statx(At("f")).stx_mnt_id, root.stx_mnt_id);
  EXPECT_EQ(Statx(At("g")).stx_mnt_id, root.stx_mnt_id);
  EXPECT_NE(Statx(Upper("g")).stx_mnt_id, root.stx_mnt_id);
}

}  // namespace
}  // namespace strata::conformance
