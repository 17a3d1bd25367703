// Files without a name (O_TMPFILE) and how they get one.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/conformance/union_fixture.h"

namespace strata::conformance {
namespace {

class Unnamed : public UnionTest {
 protected:
  UniqueFd Make(std::string_view dir, int flags = O_RDWR, mode_t mode = 0640) {
    return OpenFile(At(dir), O_TMPFILE | flags, mode);
  }
  static std::string Content(int fd) {
    char content[64] = {};
    const ssize_t got = ::pread(fd, content, sizeof content, 0);
    return got < 0 ? "error" : std::string(content, static_cast<std::size_t>(got));
  }
  // Gives the file a name by /proc: 0 or the errno.
  int LinkTo(const UniqueFd& file, std::string_view name) {
    const std::string source = "/proc/self/fd/" + std::to_string(file.get());
    return ErrnoOf(
        ::linkat(AT_FDCWD, source.c_str(), AT_FDCWD, At(name).c_str(), AT_SYMLINK_FOLLOW));
  }
};

TEST_F(Unnamed, IsAFileLikeAnyOtherButInNoDirectory) {
  MakeDir(Lower(0, "d"));
  Mount();
  const UniqueFd file = Make("d");
  ASSERT_EQ(::pwrite(file.get(), "content", 7, 0), 7);
  EXPECT_EQ(Content(file.get()), "content");
  struct stat st;
  ASSERT_EQ(::fstat(file.get(), &st), 0);
  EXPECT_EQ(st.st_nlink, 0U);
  EXPECT_EQ(st.st_size, 7);
  EXPECT_EQ(st.st_mode, static_cast<mode_t>(S_IFREG | 0640));
  EXPECT_TRUE(List(At("d")).empty());
  ASSERT_EQ(::ftruncate(file.get(), 3), 0);
  EXPECT_EQ(Content(file.get()), "con");
  ASSERT_EQ(::fchmod(file.get(), 0600), 0);
  ASSERT_EQ(::fsync(file.get()), 0);
  EXPECT_TRUE(List(Upper("d")).empty());
}

TEST_F(Unnamed, GetsANameByLinkat) {
  MakeDir(Lower(0, "d"));
  WriteFile(Lower(0, "d/gone"), "lower");
  WriteFile(Lower(0, "d/there"), "lower");
  Mount();
  MustCall(::unlink(At("d/gone").c_str()), "unlink");
  for (const char* name : {"d/new", "d/gone", "top"}) {
    const UniqueFd file = Make("d");
    ASSERT_EQ(::pwrite(file.get(), name, 3, 0), 3);
    EXPECT_EQ(LinkTo(file, "d/there"), EEXIST);
    ASSERT_EQ(LinkTo(file, name), 0) << name;
    EXPECT_EQ(ReadFile(At(name)), std::string(name, 3));
    struct stat st;
    ASSERT_EQ(::fstat(file.get(), &st), 0);
    EXPECT_EQ(st.st_nlink, 1U);
    EXPECT_EQ(st.st_ino, Lstat(At(name)).st_ino);
    ASSERT_EQ(::pwrite(file.get(), "!", 1, 3), 1);
    EXPECT_EQ(ReadFile(At(name)), std::string(name, 3) + "!");
  }
  {
    const UniqueFd file = Make("d");
    ASSERT_EQ(ErrnoOf(::linkat(file.get(), "", AT_FDCWD, At("empty").c_str(), AT_EMPTY_PATH)), 0);
  }
  EXPECT_EQ(List(At("d")), (std::vector<std::string>{"gone", "new", "there"}));
  Unmount();
  Mount();
  EXPECT_EQ(List(At()), (std::vector<std::string>{"d", "empty", "top"}));
  EXPECT_EQ(ReadFile(At("d/gone")), "d/g!");
}

TEST_F(Unnamed, WithExclCannotBeLinked) {
  Mount();
  const UniqueFd file = Make("", O_RDWR | O_EXCL);
  EXPECT_EQ(LinkTo(file, "name"), ENOENT);
  EXPECT_FALSE(Exists(At("name")));
}

TEST_F(Unnamed, MayGetANameAgainAfterLosingItsLast) {
  Mount();
  const UniqueFd file = Make("");
  ASSERT_EQ(LinkTo(file, "a"), 0);
  ASSERT_EQ(LinkTo(file, "b"), 0);
  MustCall(::unlink(At("a").c_str()), "unlink");
  MustCall(::unlink(At("b").c_str()), "unlink");
  // Unlike a file that always had a name, one made without stays linkable.
  const int again = LinkTo(file, "c");
  const UniqueFd native = OpenFile(root_.path(), O_TMPFILE | O_RDWR, 0600);
  const std::string source = "/proc/self/fd/" + std::to_string(native.get());
  const auto link = [&](const std::string& name) {
    return ErrnoOf(
        ::linkat(AT_FDCWD, source.c_str(), AT_FDCWD, root_.At(name).c_str(), AT_SYMLINK_FOLLOW));
  };
  ASSERT_EQ(link("na"), 0);
  MustCall(::unlink(root_.At("na").c_str()), "unlink");
  EXPECT_EQ(again, link("nb"));
}

TEST_F(Unnamed, BelongsToItsMaker) {
  MakeDir(Lower(0, "d"), 0777);
  MakeDir(Lower(0, "group"), 0777);
  MustCall(::chown(Lower(0, "group").c_str(), 0, 77), "chown");
  MustCall(::chmod(Lower(0, "group").c_str(), 02777), "chmod");
  Mount();
  for (const char* dir : {"d", "group"}) {
    EXPECT_EQ(AsUser(1234,
                     [&] {
                       ::umask(027);
                       const int fd = ::open(At(dir).c_str(), O_TMPFILE | O_WRONLY, 0666);
                       struct stat st = {};
                       if (fd < 0 || ::fstat(fd, &st) != 0) return 1;
                       if (st.st_uid != 1234 || st.st_mode != (S_IFREG | 0640)) return 2;
                       return st.st_gid == (std::string(dir) == "d" ? 1234 : 77) ? 0 : 3;
                     }),
              0)
        << dir;
  }
  EXPECT_EQ(AsUser(1234, [&] { return ErrnoOf(::open(At().c_str(), O_TMPFILE | O_RDWR, 0600)); }),
            EACCES);
}

TEST_F(Unnamed, IsRefusedWhereNothingCanBeMade) {
  WriteFile(Lower(0, "f"), "x");
  MakeDir(Lower(0, "d"));
  Mount();
  EXPECT_EQ(ErrnoOf(::open(At("f").c_str(), O_TMPFILE | O_RDWR, 0600)), ENOTDIR);
  EXPECT_EQ(ErrnoOf(::open(At("d").c_str(), O_TMPFILE | O_RDONLY, 0600)), EINVAL);
  {
    const UniqueFd dir = OpenFile(At("d"), O_RDONLY | O_DIRECTORY);
    MustCall(::rmdir(At("d").c_str()), "rmdir");
    // Kernel overlayfs says ENOTDIR, other filesystems don't.
    if (!IsKernel()) {
      EXPECT_EQ(ErrnoOf(::openat(dir.get(), ".", O_TMPFILE | O_RDWR, 0600)), ENOENT);
    }
  }
}

TEST_F(Unnamed, IsRefusedInAReadOnlyUnion) {
  MakeDir(Lower(0, "d"));
  MakeDir(Lower(1, "d"));
  MountReadOnly();
  EXPECT_EQ(ErrnoOf(::open(At("d").c_str(), O_TMPFILE | O_RDWR, 0600)), EROFS);
}

}  // namespace
}  // namespace strata::conformance
