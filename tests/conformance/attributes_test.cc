// Owners, modes, times, extended attributes, ACLs and capabilities: as on any POSIX filesystem, and
// kept by copy-up.
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/conformance/union_fixture.h"

namespace strata::conformance {
namespace {

using support::EncodeAcl;
using support::EncodeCapability;
using support::GetXattr;
using support::ReadXattrs;
using support::SetXattr;

constexpr unsigned kNone = ~0U;
constexpr uid_t kUser = 1000;
constexpr std::string_view kAccess = "system.posix_acl_access";
constexpr std::string_view kDefault = "system.posix_acl_default";

class Attributes : public UnionTest {};

TEST_F(Attributes, SurviveCopyUp) {
  const std::string f = Lower(0, "f");
  WriteFile(f, "x");
  MustCall(::chown(f.c_str(), kUser, 1001), "chown");
  MustCall(::chmod(f.c_str(), 04751), "chmod");
  Must(SetXattr(f, "user.one", "1"));
  Must(SetXattr(f, "trusted.two", "2"));
  Must(SetXattr(f, "security.capability", EncodeCapability(1U << 10)));
  Must(SetXattr(
      f, std::string(kAccess),
      EncodeAcl({{1, 7, kNone}, {2, 4, 1234}, {4, 5, kNone}, {16, 5, kNone}, {32, 1, kNone}})));
  const struct timespec times[2] = {{1'000'000'000, 1}, {1'200'000'000, 123'456'789}};
  MustCall(::utimensat(AT_FDCWD, f.c_str(), times, 0), "utimensat");
  const struct stat before = Lstat(f);
  const auto xattrs = Must(ReadXattrs(f));
  Mount();
  ASSERT_EQ(::link(At("f").c_str(), At("g").c_str()), 0);  // copies up, changes nothing
  for (const std::string& path : {At("f"), At("g"), Upper("f")}) {
    const struct stat after = Lstat(path);
    EXPECT_EQ(after.st_mode, before.st_mode) << path;
    EXPECT_EQ(after.st_uid, before.st_uid);
    EXPECT_EQ(after.st_gid, before.st_gid);
    EXPECT_EQ(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
    EXPECT_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
    for (const auto& [name, value] : xattrs) EXPECT_EQ(Must(GetXattr(path, name)), value) << name;
  }
  EXPECT_EQ(Must(ReadXattrs(At("f"))), xattrs);
}

TEST_F(Attributes, SymlinkOwnerAndTimesSurviveCopyUp) {
  MustCall(::symlink("nowhere", Lower(0, "l").c_str()), "symlink");
  MustCall(::lchown(Lower(0, "l").c_str(), kUser, kUser), "lchown");
  const struct timespec times[2] = {{1, 1}, {1'200'000'000, 5}};
  MustCall(::utimensat(AT_FDCWD, Lower(0, "l").c_str(), times, AT_SYMLINK_NOFOLLOW), "utimensat");
  Mount();
  MustCall(::rename(At("l").c_str(), At("m").c_str()), "rename");
  const struct stat st = Lstat(At("m"));
  EXPECT_TRUE(S_ISLNK(st.st_mode));
  EXPECT_EQ(st.st_uid, kUser);
  EXPECT_EQ(st.st_mtim.tv_sec, 1'200'000'000);
  EXPECT_EQ(st.st_mtim.tv_nsec, 5);
}

TEST_F(Attributes, WritingByAStrangerClearsSetuid) {
  WriteFile(Lower(0, "f"), "x", 06777);
  Mount();
  EXPECT_EQ(AsUser(kUser,
                   [&] {
                     const int fd = ::open(At("f").c_str(), O_WRONLY);
                     return ErrnoOf(fd < 0 ? -1 : ::write(fd, "y", 1));
                   }),
            0);
  EXPECT_EQ(Lstat(At("f")).st_mode, S_IFREG | 0777U);
}

TEST_F(Attributes, TruncatingByAStrangerClearsSetuid) {
  WriteFile(Lower(0, "f"), "x", 06777);
  Mount();
  EXPECT_EQ(AsUser(kUser, [&] { return ErrnoOf(::truncate(At("f").c_str(), 0)); }), 0);
  EXPECT_EQ(Lstat(At("f")).st_mode, S_IFREG | 0777U);
}

TEST_F(Attributes, ChangingTheOwnerClearsSetuidAndCapabilities) {
  WriteFile(Lower(0, "f"), "x", 06755);
  Must(SetXattr(Lower(0, "f"), "security.capability", EncodeCapability(1)));
  Mount();
  MustCall(::chown(At("f").c_str(), kUser, kUser), "chown");
  EXPECT_EQ(Lstat(At("f")).st_mode, S_IFREG | 0755U);
  EXPECT_EQ(ErrnoOf(::getxattr(At("f").c_str(), "security.capability", nullptr, 0)), ENODATA);
}

TEST_F(Attributes, WritingClearsCapabilities) {
  WriteFile(Lower(0, "f"), "x", 0755);
  Must(SetXattr(Lower(0, "f"), "security.capability", EncodeCapability(1)));
  Mount();
  AppendFile(At("f"), "y");
  EXPECT_EQ(ErrnoOf(::getxattr(At("f").c_str(), "security.capability", nullptr, 0)), ENODATA);
}

TEST_F(Attributes, DefaultAclIsInheritedAndReplacesTheUmask) {
  MakeDir(Lower(0, "d"), 0777);
  Must(SetXattr(
      Lower(0, "d"), std::string(kDefault),
      EncodeAcl({{1, 7, kNone}, {2, 6, kUser}, {4, 7, kNone}, {16, 7, kNone}, {32, 4, kNone}})));
  Mount();
  ::umask(077);
  {
    OpenFile(At("d/f"), O_WRONLY | O_CREAT | O_EXCL, 0666);
  }
  MustCall(::mkdir(At("d/sub").c_str(), 0777), "mkdir");
  ::umask(022);
  EXPECT_EQ(Lstat(At("d/f")).st_mode & 0777U, 0664U);  // the group bits are the mask
  EXPECT_EQ(
      Must(GetXattr(At("d/f"), std::string(kAccess))),
      EncodeAcl({{1, 6, kNone}, {2, 6, kUser}, {4, 7, kNone}, {16, 6, kNone}, {32, 4, kNone}}));
  EXPECT_EQ(Must(GetXattr(At("d/sub"), std::string(kDefault))),
            Must(GetXattr(At("d"), std::string(kDefault))));
  EXPECT_EQ(Lstat(At("d/sub")).st_mode & 0777U, 0774U);
}

// As on a filesystem mounted with noacl: what is stored is neither shown nor in force.
TEST_F(Attributes, WithoutAclsNoneIsThereAtAll) {
  if (!IsStratafs()) GTEST_SKIP() << "an option of ours";
  const std::string acl =
      EncodeAcl({{1, 7, kNone}, {2, 7, kUser}, {4, 7, kNone}, {16, 7, kNone}, {32, 0, kNone}});
  WriteFile(Lower(0, "f"), "x", 0640);
  Must(SetXattr(Lower(0, "f"), std::string(kAccess), acl));
  MakeDir(Lower(0, "d"));
  Must(SetXattr(Lower(0, "d"), std::string(kDefault), acl));
  WriteFile(Lower(0, "d/gone"), "x");
  Mount({.options = {"noacl"}});
  for (const std::string_view name : {kAccess, kDefault}) {
    const std::string xattr(name);
    EXPECT_EQ(GetXattr(At("d"), xattr).error().code(), EOPNOTSUPP);
    EXPECT_EQ(SetXattr(At("d"), xattr, acl).error().code(), EOPNOTSUPP);
    EXPECT_EQ(ErrnoOf(::removexattr(At("d").c_str(), xattr.c_str())), EOPNOTSUPP);
  }
  EXPECT_EQ(GetXattr(At("f"), std::string(kAccess)).error().code(), EOPNOTSUPP);
  EXPECT_TRUE(Must(support::ReadXattrs(At("f"))).empty());
  EXPECT_TRUE(Must(support::ReadXattrs(At("d"))).empty());
  EXPECT_EQ(AsUser(kUser, [&] { return ErrnoOf(::access(At("f").c_str(), W_OK)); }), EACCES);

  const mode_t mask = ::umask(022);
  WriteFile(At("f"), "y");
  MustCall(::mkdir(At("d/sub").c_str(), 0777), "mkdir");
  OpenFile(At("d/file"), O_WRONLY | O_CREAT, 0666);
  MustCall(::unlink(At("d/gone").c_str()), "unlink");
  MustCall(::mkdir(At("d/gone").c_str(), 0777), "mkdir");
  OpenFile(At("d"), O_WRONLY | O_TMPFILE, 0666);
  ::umask(mask);
  ASSERT_TRUE(GetXattr(Upper("d"), std::string(kDefault)).has_value()) << "kept with the copy";
  for (const char* name : {"d/sub", "d/file", "d/gone"}) {
    EXPECT_EQ(Lstat(At(name)).st_mode & 0777, name == std::string("d/file") ? 0644U : 0755U)
        << name;
    EXPECT_FALSE(GetXattr(Upper(name), std::string(kAccess)).has_value()) << name;
    EXPECT_FALSE(GetXattr(Upper(name), std::string(kDefault)).has_value()) << name;
  }
}

TEST_F(Attributes, AclGrantsAccess) {
  WriteFile(Lower(0, "f"), "x", 0600);
  Must(SetXattr(
      Lower(0, "f"), std::string(kAccess),
      EncodeAcl({{1, 6, kNone}, {2, 6, kUser}, {4, 0, kNone}, {16, 6, kNone}, {32, 0, kNone}})));
  Mount();
  const auto opens = [&] { return ErrnoOf(::open(At("f").c_str(), O_RDWR)); };
  EXPECT_EQ(AsUser(kUser, opens), 0);
  EXPECT_EQ(AsUser(kUser + 1, opens), EACCES);
  AppendFile(At("f"), "y");
  EXPECT_EQ(AsUser(kUser, opens), 0);
  MustCall(::chmod(At("f").c_str(), 0600), "chmod");  // the mask: takes the grant away
  EXPECT_EQ(AsUser(kUser, opens), EACCES);
}

TEST_F(Attributes, UmaskAppliesWithoutDefaultAcl) {
  Mount();
  ::umask(027);
  {
    OpenFile(At("f"), O_WRONLY | O_CREAT | O_EXCL, 0666);
  }
  MustCall(::mkdir(At("d").c_str(), 0777), "mkdir");
  MustCall(::mknod(At("p").c_str(), S_IFIFO | 0666, 0), "mknod");
  ::umask(022);
  EXPECT_EQ(Lstat(At("f")).st_mode & 0777U, 0640U);
  EXPECT_EQ(Lstat(At("d")).st_mode & 0777U, 0750U);
  EXPECT_EQ(Lstat(At("p")).st_mode & 0777U, 0640U);
}

TEST_F(Attributes, NewFilesBelongToTheirMakerOrTheDirectorysGroup) {
  MakeDir(Lower(0, "d"), 0777);
  MakeDir(Lower(0, "g"), 0777);
  MustCall(::chown(Lower(0, "g").c_str(), 0, 1001), "chown");
  MustCall(::chmod(Lower(0, "g").c_str(), 02777), "chmod");
  Mount();
  for (const char* dir : {"d", "g"}) {
    const std::string path = At(dir);
    EXPECT_EQ(
        AsUser(kUser,
               [&] { return ErrnoOf(::open((path + "/f").c_str(), O_CREAT | O_RDWR, 0644)); }),
        0);
    EXPECT_EQ(AsUser(kUser, [&] { return ErrnoOf(::mkdir((path + "/s").c_str(), 0755)); }), 0);
    EXPECT_EQ(AsUser(kUser, [&] { return ErrnoOf(::symlink("x", (path + "/l").c_str())); }), 0);
    const gid_t group = dir[0] == 'g' ? 1001 : kUser;
    for (const char* name : {"/f", "/s", "/l"}) {
      EXPECT_EQ(Lstat(path + name).st_uid, kUser) << path << name;
      EXPECT_EQ(Lstat(path + name).st_gid, group) << path << name;
    }
  }
  EXPECT_EQ(Lstat(At("g/s")).st_mode, S_IFDIR | 02755U);
}

// The engine remembers what a directory hands down.
TEST_F(Attributes, NewFilesFollowTheChangesOfTheirDirectory) {
  Mount();
  MakeDir(At("d"), 0777);
  int made = 0;
  const auto make = [&] {
    const std::string path = At("d/" + std::to_string(made++));
    OpenFile(path, O_WRONLY | O_CREAT | O_EXCL, 0666);
    return path;
  };
  EXPECT_EQ(Lstat(make()).st_gid, 0U);
  MustCall(::chown(At("d").c_str(), 0, 1001), "chown");
  EXPECT_EQ(Lstat(make()).st_gid, 0U);
  MustCall(::chmod(At("d").c_str(), 02777), "chmod");
  EXPECT_EQ(Lstat(make()).st_gid, 1001U);
  MustCall(::chown(At("d").c_str(), 0, 1002), "chown");
  EXPECT_EQ(Lstat(make()).st_gid, 1002U);
  const std::string acl =
      EncodeAcl({{1, 7, kNone}, {2, 6, kUser}, {4, 7, kNone}, {16, 7, kNone}, {32, 4, kNone}});
  Must(SetXattr(At("d"), std::string(kDefault), acl));
  EXPECT_TRUE(GetXattr(make(), std::string(kAccess)).has_value());
  MustCall(::removexattr(At("d").c_str(), std::string(kDefault).c_str()), "removexattr");
  EXPECT_FALSE(GetXattr(make(), std::string(kAccess)).has_value());
  MustCall(::chmod(At("d").c_str(), 0777), "chmod");
  EXPECT_EQ(Lstat(make()).st_gid, 0U);
}

// That a file made here has no capability is known without looking, until it is given one.
TEST_F(Attributes, CapabilitiesOfANewFileShowByEveryName) {
  Mount();
  WriteFile(At("f"), "x");
  MustCall(::link(At("f").c_str(), At("g").c_str()), "link");
  EXPECT_EQ(ErrnoOf(::getxattr(At("f").c_str(), "security.capability", nullptr, 0)), ENODATA);
  const std::string capability = EncodeCapability(1U << 10);
  Must(SetXattr(At("g"), "security.capability", capability));
  EXPECT_EQ(Must(GetXattr(At("f"), "security.capability")), capability);
  MustCall(::rename(At("f").c_str(), At("h").c_str()), "rename");
  EXPECT_EQ(Must(GetXattr(At("h"), "security.capability")), capability);
  AppendFile(At("h"), "y");
  EXPECT_EQ(ErrnoOf(::getxattr(At("h").c_str(), "security.capability", nullptr, 0)), ENODATA);
}

TEST_F(Attributes, StickyDirectoriesProtectOthersFiles) {
  MakeDir(Lower(0, "tmp"), 01777);
  WriteFile(Lower(0, "tmp/mine"), "x", 0666);
  MustCall(::chown(Lower(0, "tmp/mine").c_str(), kUser, kUser), "chown");
  Mount();
  const auto removes = [&] { return ErrnoOf(::unlink(At("tmp/mine").c_str())); };
  const auto renames = [&] {
    return ErrnoOf(::rename(At("tmp/mine").c_str(), At("tmp/x").c_str()));
  };
  EXPECT_EQ(AsUser(kUser + 1, removes), EPERM);
  EXPECT_EQ(AsUser(kUser + 1, renames), EPERM);
  EXPECT_TRUE(UpperTree().empty());
  EXPECT_EQ(AsUser(kUser, renames), 0);
  EXPECT_TRUE(Exists(At("tmp/x")));
}

TEST_F(Attributes, NanosecondTimes) {
  WriteFile(Lower(0, "f"), "x");
  Mount();
  const struct timespec times[2] = {{1'234'567'890, 111'222'333}, {1'234'567'891, 999'999'999}};
  MustCall(::utimensat(AT_FDCWD, At("f").c_str(), times, 0), "utimensat");
  const struct stat st = Lstat(At("f"));
  EXPECT_EQ(st.st_atim.tv_nsec, 111'222'333);
  EXPECT_EQ(st.st_mtim.tv_nsec, 999'999'999);
  const struct timespec one[2] = {{0, UTIME_OMIT}, {5, 7}};
  MustCall(::utimensat(AT_FDCWD, At("f").c_str(), one, 0), "utimensat");
  EXPECT_EQ(Lstat(At("f")).st_atim.tv_sec, 1'234'567'890);
  EXPECT_EQ(Lstat(At("f")).st_mtim.tv_sec, 5);
  const struct timespec early[2] = {{-1'000'000, 0}, {-1'000'000, 500}};
  MustCall(::utimensat(AT_FDCWD, At("f").c_str(), early, 0), "utimensat");
  EXPECT_EQ(Lstat(At("f")).st_mtim.tv_sec, -1'000'000);
}

// Layers inside a union (a container in a container): the format's own attributes are data there.
TEST_F(Attributes, OverlayAttributesOfUsersAreKeptApart) {
  if (!IsStratafs() && !IsKernel()) GTEST_SKIP() << "not escaped there";
  MakeDir(Lower(0, "d"));
  WriteFile(Lower(0, "d/f"), "x");
  Mount();
  // Whether such a name may be set is up to the mount; it must never be obeyed, nor clash.
  const int set = ErrnoOf(::setxattr(At("d").c_str(), "trusted.overlay.opaque", "y", 1, 0));
  EXPECT_TRUE(set == 0 || set == EPERM || set == EOPNOTSUPP) << set;
  EXPECT_EQ(List(At("d")), std::vector<std::string>{"f"});
  const auto xattrs = Must(ReadXattrs(At("d")));
  if (set == 0) {
    EXPECT_EQ(xattrs.at("trusted.overlay.opaque"), "y");
  }
  Unmount();
  Mount();
  EXPECT_EQ(List(At("d")), std::vector<std::string>{"f"});
  AppendFile(At("d/f"), "y");
  EXPECT_EQ(Must(ReadXattrs(At("d/f"))), support::Xattrs{}) << "the layers' bookkeeping shows";
}

TEST_F(Attributes, WhiteoutsCannotBeMadeByUsers) {
  if (!IsStratafs() && !IsKernel()) GTEST_SKIP() << "not refused there";
  WriteFile(Lower(0, "f"), "x");
  Mount();
  EXPECT_EQ(ErrnoOf(::mknod(At("w").c_str(), S_IFCHR | 0600, 0)), EPERM);
  EXPECT_TRUE(UpperTree().empty());
}

}  // namespace
}  // namespace strata::conformance
