// What becomes of a layer's tar on disk: every kind of entry, and every way to break out.
#include "layerstore/archive/unpacker.h"

#include <gtest/gtest.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <chrono>

#include "base/digest.h"
#include "tests/support/process.h"
#include "tests/support/tree_snapshot.h"
#include "tests/support/xattrs.h"
#include "tests/unit/layerstore/unpacker_fixture.h"

namespace strata::layerstore {
namespace {

using support::Must;
using support::TarBuilder;

TEST_F(UnpackerTest, FilesDirectoriesAndLinks) {
  TarBuilder tar;
  tar.Add({.name = "./", .type = '5', .mode = 0711, .mtime = 11});
  tar.Add({.name = "./d/", .type = '5', .mode = 01777, .uid = 5, .gid = 6, .mtime = 12});
  tar.Add({.name = "./d/f", .content = "hello", .mode = 04755, .uid = 7, .gid = 8, .mtime = 13});
  tar.Add({.name = "./d/s", .type = '2', .link = "/etc/passwd", .uid = 9, .mtime = 14});
  tar.Add({.name = "./h", .type = '1', .link = "d/f"});
  tar.Add({.name = "./absolute", .type = '1', .link = "/d/f"});
  const std::string fs = Unpacked(tar);

  EXPECT_EQ(Lstat(fs).st_mode, static_cast<mode_t>(S_IFDIR | 0711));
  EXPECT_EQ(Lstat(fs).st_mtim.tv_sec, 11);
  const struct stat dir = Lstat(fs + "/d");
  EXPECT_EQ(dir.st_mode, static_cast<mode_t>(S_IFDIR | 01777));
  EXPECT_EQ(dir.st_uid, 5U);
  EXPECT_EQ(dir.st_gid, 6U);
  EXPECT_EQ(dir.st_mtim.tv_sec, 12);
  const struct stat file = Lstat(fs + "/d/f");
  EXPECT_EQ(file.st_mode, static_cast<mode_t>(S_IFREG | 04755));
  EXPECT_EQ(file.st_uid, 7U);
  EXPECT_EQ(file.st_mtim.tv_sec, 13);
  EXPECT_EQ(LinksInLayer(fs + "/d/f"), 3U);
  EXPECT_EQ(Lstat(fs + "/h").st_ino, file.st_ino);
  EXPECT_EQ(Lstat(fs + "/absolute").st_ino, file.st_ino);
  EXPECT_EQ(ReadFile(fs + "/absolute"), "hello");
  const struct stat link = Lstat(fs + "/d/s");
  EXPECT_TRUE(S_ISLNK(link.st_mode));
  EXPECT_EQ(link.st_uid, 9U);
  EXPECT_EQ(link.st_mtim.tv_sec, 14);
  EXPECT_EQ(Must(FileOps::System().ReadLink(AT_FDCWD, (fs + "/d/s").c_str())), "/etc/passwd");
}

TEST_F(UnpackerTest, DevicesAndFifos) {
  TarBuilder tar;
  tar.Add({.name = "null", .type = '3', .mode = 0666, .major = 1, .minor = 3});
  tar.Add({.name = "loop", .type = '4', .mode = 0660, .gid = 6, .major = 7, .minor = 9});
  tar.Add({.name = "pipe", .type = '6', .mode = 0600});
  const std::string fs = Unpacked(tar);
  EXPECT_EQ(Lstat(fs + "/null").st_mode, static_cast<mode_t>(S_IFCHR | 0666));
  EXPECT_EQ(Lstat(fs + "/null").st_rdev, makedev(1, 3));
  EXPECT_EQ(Lstat(fs + "/loop").st_mode, static_cast<mode_t>(S_IFBLK | 0660));
  EXPECT_EQ(Lstat(fs + "/loop").st_rdev, makedev(7, 9));
  EXPECT_EQ(Lstat(fs + "/pipe").st_mode, static_cast<mode_t>(S_IFIFO | 0600));
}

TEST_F(UnpackerTest, NanosecondTimesAndXattrs) {
  TarBuilder tar;
  const std::string capability = support::EncodeCapability(1U << 10U);
  tar.Add({.name = "f",
           .content = "x",
           .mode = 0755,
           .pax = {{"mtime", "1234567890.123456789"},
                   {"atime", "1034567890.987654321"},
                   {"SCHILY.xattr.user.note", std::string("a\0b", 3)},
                   {"SCHILY.xattr.trusted.deep", "t"},
                   {"SCHILY.xattr.security.capability", capability},
                   {"SCHILY.xattr.security.selinux", "system_u"}}});
  tar.Add({.name = "d/", .type = '5', .pax = {{"SCHILY.xattr.user.dir", "1"}}});
  const std::string fs = Unpacked(tar);
  const struct stat st = Lstat(fs + "/f");
  EXPECT_EQ(st.st_mtim.tv_sec, 1234567890);
  EXPECT_EQ(st.st_mtim.tv_nsec, 123456789);
  EXPECT_EQ(st.st_atim.tv_nsec, 987654321);
  const auto xattrs = Must(support::ReadXattrs(fs + "/f"));
  EXPECT_EQ(xattrs.at("user.note"), std::string("a\0b", 3));
  EXPECT_EQ(xattrs.at("trusted.deep"), "t");
  EXPECT_EQ(xattrs.at("security.capability"), capability);
  EXPECT_FALSE(xattrs.contains("security.selinux"));
  EXPECT_EQ(Must(support::GetXattr(fs + "/d", "user.dir")), "1");
}

TEST_F(UnpackerTest, PosixAcls) {
  TarBuilder tar;
  tar.Add({.name = "f",
           .content = "x",
           .mode = 0670,
           .pax = {{"SCHILY.acl.access",
                    "user::rw-,user:1000:rwx,group::r--,group:lisa:rw-:77,mask::rwx,other::---"}}});
  tar.Add(
      {.name = "d/",
       .type = '5',
       .pax = {{"SCHILY.acl.default", "user::rwx,group::r-x,group:50:rwx,mask::rwx,other::r-x"}}});
  const std::string fs = Unpacked(tar);
  EXPECT_EQ(Must(support::GetXattr(fs + "/f", "system.posix_acl_access")),
            support::EncodeAcl({{1, 6}, {2, 7, 1000}, {4, 4}, {8, 6, 77}, {0x10, 7}, {0x20, 0}}));
  EXPECT_EQ(Lstat(fs + "/f").st_mode & 07777U, 0670U);
  EXPECT_EQ(Must(support::GetXattr(fs + "/d", "system.posix_acl_default")),
            support::EncodeAcl({{1, 7}, {4, 5}, {8, 7, 50}, {0x10, 7}, {0x20, 5}}));
}

TEST_F(UnpackerTest, AclEntryWithoutIdNeverWidensAccess) {
  TarBuilder tar;
  tar.Add({.name = "f",
           .content = "x",
           .mode = 0660,
           .pax = {{"SCHILY.acl.access",
                    "user::rw-,user:nobody-knows:rw-,group::---,mask::rw-,other::---"}}});
  const std::string fs = Unpacked(tar);
  EXPECT_EQ(Must(support::GetXattr(fs + "/f", "system.posix_acl_access")),
            support::EncodeAcl({{1, 6}, {4, 0}, {0x10, 6}, {0x20, 0}}));
}

TEST_F(UnpackerTest, LongAndOddNames) {
  const std::string long_name(255, 'n');
  std::string deep;
  for (int i = 0; i < 40; ++i) deep += std::string(100, static_cast<char>('a' + i % 26)) + '/';
  const std::string bytes = "caf\xe9-\xff\xfe";
  const std::string utf8 = "caf\xc3\xa9";
  TarBuilder tar;
  tar.AddFile(long_name, "long");
  tar.Add({.name = deep + "f", .content = "deep", .pax = {{"path", deep + "f"}}});
  tar.AddFile(bytes, "ustar bytes");
  tar.Add({.name = "x", .content = "pax bytes", .pax = {{"path", "pax-" + bytes}}});
  tar.Add({.name = "x", .content = "pax utf8", .pax = {{"path", "pax-" + utf8}}});
  tar.Add({.name = "y",
           .type = '1',
           .link = "l",
           .pax = {{"path", "hard-" + bytes}, {"linkpath", bytes}}});
  tar.Add({.name = "z", .type = '2', .link = "l", .pax = {{"path", "soft"}, {"linkpath", bytes}}});
  const std::string fs = Unpacked(tar);
  EXPECT_EQ(ReadFile(fs + '/' + long_name), "long");
  EXPECT_EQ(ReadFile(fs + '/' + bytes), "ustar bytes");
  EXPECT_EQ(ReadFile(fs + "/pax-" + bytes), "pax bytes");
  EXPECT_EQ(ReadFile(fs + "/pax-" + utf8), "pax utf8");
  EXPECT_EQ(LinksInLayer(fs + "/hard-" + bytes), 2U);
  EXPECT_EQ(Must(FileOps::System().ReadLink(AT_FDCWD, (fs + "/soft").c_str())), bytes);
  // Longer than one system call takes: walk.
  auto& ops = FileOps::System();
  UniqueFd at = Must(ops.Open(AT_FDCWD, fs.c_str(), O_PATH));
  for (int i = 0; i < 40; ++i) {
    at =
        Must(ops.Open(at.get(), std::string(100, static_cast<char>('a' + i % 26)).c_str(), O_PATH));
  }
  EXPECT_TRUE(Succeeds(ops.StatAt(at.get(), "f")));
}

TEST_F(UnpackerTest, Whiteouts) {
  TarBuilder tar;
  tar.AddDirectory("a");
  tar.AddFile("a/.wh.gone", "");
  tar.AddFile("implied/.wh.gone", "");
  tar.AddDirectory("opaque");
  tar.AddFile("opaque/.wh..wh..opq", "");
  tar.AddFile("opaque/kept", "k");
  tar.AddFile(".wh..wh.plnk", "");
  tar.AddFile(".wh..wh.orph/x", "");
  // The layer's own entries stay, whichever comes first.
  tar.AddFile("own", "own");
  tar.AddFile(".wh.own", "");
  tar.AddFile(".wh.later", "");
  tar.AddFile("later", "later");
  tar.AddFile(".wh.dir", "");
  tar.AddDirectory("dir");
  tar.AddDirectory("dir2");
  tar.AddFile(".wh.dir2", "");
  tar.AddFile(".wh.dir3", "");
  tar.AddFile("dir3/f", "f");
  const std::string fs = Unpacked(tar);
  for (const char* path : {"/a/gone", "/implied/gone"}) {
    const struct stat st = Lstat(fs + path);
    EXPECT_TRUE(S_ISCHR(st.st_mode)) << path;
    EXPECT_EQ(st.st_rdev, 0U) << path;
  }
  EXPECT_EQ(ReadFile(fs + "/own"), "own");
  EXPECT_EQ(ReadFile(fs + "/later"), "later");
  for (const char* path : {"/opaque", "/dir", "/dir2", "/dir3"}) {
    EXPECT_EQ(Must(support::GetXattr(fs + path, "trusted.overlay.opaque")), "y") << path;
  }
  EXPECT_EQ(ReadFile(fs + "/opaque/kept"), "k");
  EXPECT_EQ(ReadFile(fs + "/dir3/f"), "f");
  EXPECT_EQ(Names(fs), (std::set<std::string>{"a", "implied", "opaque", "own", "later", "dir",
                                              "dir2", "dir3"}));
  EXPECT_FALSE(support::GetXattr(fs + "/a", "trusted.overlay.opaque").has_value());
}

TEST_F(UnpackerTest, LastEntryOfANameWins) {
  TarBuilder tar;
  tar.AddFile("f", "first").AddFile("f", "second");
  tar.AddFile("file-then-dir", "x").AddDirectory("file-then-dir").AddFile("file-then-dir/in", "in");
  tar.AddDirectory("dir-then-file").AddFile("dir-then-file/a/b", "b").AddFile("dir-then-file", "f");
  tar.AddDirectory("twice", 0700).AddFile("twice/kept", "kept").AddDirectory("twice", 0750);
  tar.Add({.name = "link", .type = '2', .link = "/etc"}).AddFile("link", "now a file");
  tar.Add({.name = "dir-then-link/", .type = '5'});
  tar.AddFile("dir-then-link/x", "x");
  tar.Add({.name = "dir-then-link", .type = '2', .link = "f"});
  const std::string fs = Unpacked(tar);
  EXPECT_EQ(ReadFile(fs + "/f"), "second");
  EXPECT_EQ(ReadFile(fs + "/file-then-dir/in"), "in");
  EXPECT_EQ(ReadFile(fs + "/dir-then-file"), "f");
  EXPECT_EQ(ReadFile(fs + "/twice/kept"), "kept");
  EXPECT_EQ(Lstat(fs + "/twice").st_mode & 07777U, 0750U);
  EXPECT_EQ(ReadFile(fs + "/link"), "now a file");
  EXPECT_TRUE(S_ISLNK(Lstat(fs + "/dir-then-link").st_mode));
}

TEST_F(UnpackerTest, MissingParentsAndDirectoryTimes) {
  TarBuilder tar;
  tar.AddFile("a/b/c", "c");
  tar.Add({.name = "t/", .type = '5', .mtime = 77});
  tar.AddFile("t/late", "x");
  const mode_t umask_before = ::umask(077);
  const std::string fs = Unpacked(tar);
  ::umask(umask_before);
  EXPECT_EQ(Lstat(fs).st_mode & 07777U, 0755U);
  EXPECT_EQ(Lstat(fs + "/a/b").st_mode & 07777U, 0755U);
  EXPECT_EQ(Lstat(fs + "/a/b").st_uid, 0U);
  EXPECT_EQ(Lstat(fs + "/t").st_mtim.tv_sec, 77);
}

// Whether they are right from the beginning or have to be set.
TEST_F(UnpackerTest, ModesAndOwnersOfFiles) {
  struct Case {
    unsigned mode;
    unsigned uid;
    unsigned gid;
  };
  constexpr Case kCases[] = {{0644, 0, 0},   {0755, 0, 0},    {0666, 0, 0},     {0000, 0, 0},
                             {0600, 0, 50},  {0644, 1000, 0}, {0644, 0, 50},    {04755, 0, 0},
                             {02755, 0, 50}, {01644, 0, 0},   {06711, 1000, 50}};
  TarBuilder tar;
  tar.Add({.name = "plain/", .type = '5'});
  tar.Add({.name = "group/", .type = '5', .mode = 0755, .gid = 50});
  tar.Add({.name = "set-gid/", .type = '5', .mode = 02775, .gid = 50});
  // From one directory to the other: what is known of one is not true for the next.
  for (std::size_t i = 0; i < std::size(kCases); ++i) {
    for (const char* dir : {"plain/", "set-gid/", "group/", ""}) {
      const auto& [mode, uid, gid] = kCases[i];
      const std::string name = dir + std::to_string(i);
      tar.Add({.name = name, .content = "x", .mode = mode, .uid = uid, .gid = gid});
      tar.Add({.name = name + "-link", .type = '2', .link = "x", .uid = uid, .gid = gid});
    }
  }
  for (const mode_t mask : {0022U, 0U, 0277U}) {
    const mode_t before = ::umask(mask);
    auto layer = PutLayer(tar.Finish());
    ::umask(before);
    const std::string fs = Must(std::move(layer)).path;
    for (std::size_t i = 0; i < std::size(kCases); ++i) {
      for (const char* dir : {"/plain/", "/set-gid/", "/group/", "/"}) {
        const std::string name = fs + dir + std::to_string(i);
        EXPECT_EQ(Lstat(name).st_mode & 07777U, kCases[i].mode) << name << " umask " << mask;
        for (const std::string& path : {name, name + "-link"}) {
          EXPECT_EQ(Lstat(path).st_uid, kCases[i].uid) << path;
          EXPECT_EQ(Lstat(path).st_gid, kCases[i].gid) << path;
        }
      }
    }
    store_.reset();  // the next shall be unpacked again
    Must(support::RemoveTree(root_));
    Reopen();
  }
}

TEST_F(UnpackerTest, OverlayXattrsAreEscaped) {
  TarBuilder tar;
  tar.Add({.name = "d/",
           .type = '5',
           .pax = {{"SCHILY.xattr.trusted.overlay.opaque", "y"},
                   {"SCHILY.xattr.trusted.overlay.redirect", "/etc"},
                   {"SCHILY.xattr.user.overlay.opaque", "y"}}});
  tar.Add({.name = "f",
           .content = "",
           .pax = {{"SCHILY.xattr.trusted.overlay.metacopy", ""},
                   {"SCHILY.xattr.user.overlay.whiteout", "y"}}});
  const std::string fs = Unpacked(tar);
  const auto dir = Must(support::ReadXattrs(fs + "/d"));
  EXPECT_FALSE(dir.contains("trusted.overlay.opaque"));
  EXPECT_FALSE(dir.contains("trusted.overlay.redirect"));
  EXPECT_FALSE(dir.contains("user.overlay.opaque"));
  EXPECT_EQ(dir.at("trusted.overlay.overlay.opaque"), "y");
  EXPECT_EQ(dir.at("user.overlay.overlay.opaque"), "y");
  const auto file = Must(support::ReadXattrs(fs + "/f"));
  EXPECT_TRUE(file.contains("user.overlay.overlay.whiteout"));
  EXPECT_FALSE(file.contains("user.overlay.whiteout"));
}

TEST_F(UnpackerTest, AbsoluteNamesCountFromTheRoot) {
  TarBuilder tar;
  tar.AddFile("/etc/strata-canary", "inside").AddFile("//x/./y", "y").AddFile("a/../b", "b");
  const std::string fs = Unpacked(tar);
  EXPECT_EQ(ReadFile(fs + "/etc/strata-canary"), "inside");
  EXPECT_EQ(ReadFile(fs + "/x/y"), "y");
  EXPECT_EQ(ReadFile(fs + "/b"), "b");
  EXPECT_NE(::access("/etc/strata-canary", F_OK), 0);
}

TEST_F(UnpackerTest, RefusesToLeaveTheRoot) {
  ExpectRefused(TarBuilder().AddFile("../evil", "x"), EINVAL, "../evil");
  ExpectRefused(TarBuilder().AddFile("a/../../evil", "x"), EINVAL, "leads out");
  ExpectRefused(TarBuilder().Add({.name = "h", .type = '1', .link = "../../etc/passwd"}), EINVAL,
                "entry 'h'");
  ExpectRefused(TarBuilder().Add({.name = "h", .type = '1', .link = "/etc/passwd"}), ENOENT,
                "hard link to '/etc/passwd'");
}

TEST_F(UnpackerTest, NeverWritesThroughASymlink) {
  const std::string canary = Must(temp_.MakeDir("canary"));
  WriteFile(canary + "/file", "untouched");
  const struct stat before = Lstat(canary + "/file");
  const auto link = [&](const std::string& target) {
    return TarBuilder().Add({.name = "link", .type = '2', .link = target});
  };
  ExpectRefused(link(canary).AddFile("link/file", "owned"), ELOOP, "escapes through a symlink");
  ExpectRefused(link("/").AddFile("link" + canary + "/file", "owned"), ELOOP, "symlink");
  ExpectRefused(link(canary).AddFile("link/new", "owned"), ELOOP, "link/new");
  ExpectRefused(link(canary).AddFile("link/.wh.file", ""), ELOOP, "symlink");
  ExpectRefused(link(canary).AddFile("link/.wh..wh..opq", ""), ELOOP, "symlink");
  ExpectRefused(link(canary).AddDirectory("link/d/e"), ELOOP, "symlink");
  ExpectRefused(link(canary).Add({.name = "h", .type = '1', .link = "link/file"}), ELOOP,
                "symlink");
  ExpectRefused(TarBuilder()
                    .AddDirectory("in")
                    .Add({.name = "in/up", .type = '2', .link = ".."})
                    .AddFile("in/up/x", "x"),
                ELOOP, "symlink");
  // The link itself may be replaced, and takes no mode or owner through it.
  const std::string fs =
      Unpacked(link(canary + "/file").Add({.name = "link/", .type = '5', .mode = 0777, .uid = 9}));
  EXPECT_TRUE(S_ISDIR(Lstat(fs + "/link").st_mode));
  Unpacked(TarBuilder()
               .Add({.name = "s", .type = '2', .link = canary + "/file", .mode = 0777, .uid = 9})
               .Add({.name = "h", .type = '1', .link = "s"}));
  const struct stat after = Lstat(canary + "/file");
  EXPECT_EQ(ReadFile(canary + "/file"), "untouched");
  EXPECT_EQ(after.st_mode, before.st_mode);
  EXPECT_EQ(after.st_uid, before.st_uid);
  EXPECT_EQ(Names(canary), std::set<std::string>{"file"});
}

TEST_F(UnpackerTest, RefusesNonsense) {
  ExpectRefused(TarBuilder().AddFile("f", "x").AddFile("f/below", "x"), ENOTDIR, "f/below");
  ExpectRefused(TarBuilder().AddFile("d/.wh.", ""), EINVAL, "whiteout of nothing");
  ExpectRefused(TarBuilder().AddFile("d/.wh...", ""), EINVAL, "whiteout of nothing");
  ExpectRefused(TarBuilder().AddFile(".wh.d/f", ""), EINVAL, "whiteout's name");
  ExpectRefused(TarBuilder().Add({.name = "w", .type = '3'}), EINVAL, "0:0");
  ExpectRefused(TarBuilder().Add({.name = ".", .content = "x"}), EINVAL, "root");
  ExpectRefused(TarBuilder().AddDirectory("d").Add({.name = "h", .type = '1', .link = "d"}), EPERM,
                "entry 'h'");
  ExpectRefused(TarBuilder().AddFile(".wh.w", "").Add({.name = "h", .type = '1', .link = "w"}),
                EPERM, "entry 'h'");
  // Removing what is in the way takes the link's target with it.
  ExpectRefused(TarBuilder().AddFile("d/f", "x").Add({.name = "d", .type = '1', .link = "d/f"}),
                ENOENT, "hard link to 'd/f'");
  ExpectRefused(TarBuilder().AddFile(std::string(256, 'n'), "x"), ENAMETOOLONG, "entry");
  ExpectRefused(TarBuilder().Add({.name = "f", .pax = {{"uid", "4294967295"}}}), EINVAL, "owner");
}

TEST_F(UnpackerTest, Limits) {
  const TarBuilder three = TarBuilder().AddFile("a", "").AddFile("b", "").AddFile("c", "");
  ExpectRefused(three, E2BIG, "entry 'c'", {.entries = 2});
  ExpectRefused(TarBuilder().AddFile("a", "12345678901"), E2BIG, "total-bytes=10",
                {.total_bytes = 10});
  ExpectRefused(TarBuilder().AddFile("a/b/c/d", ""), E2BIG, "path-depth=3", {.path_depth = 3});
  // Directories that only a path names count, too.
  ExpectRefused(TarBuilder().AddFile("a/b/c/d", ""), E2BIG, "missing directories", {.entries = 3});
  Unpacked(TarBuilder().AddFile("a/b/c/d", ""), {.entries = 4});
  LayerIngest dense;
  dense.limits.ratio_floor = 1 << 16;
  dense.limits.expansion_ratio = 10;
  const std::string zeros(std::size_t{8} << 20U, '\0');
  EXPECT_TRUE(FailsWith(PutLayer(support::Gzip(TarBuilder().AddFile("z", zeros).Finish()), dense),
                        E2BIG, "expands"));
  ExpectNoLeftovers();
}

TEST_F(UnpackerTest, LimitsOfNamesAndAttributes) {
  std::string path;
  while (path.size() < 16384) path += std::string(100, 'n') + '/';
  ExpectRefused(TarBuilder().AddFile(path + "f", ""), E2BIG, "path-bytes=16384");
  ExpectRefused(TarBuilder().AddFile("abcd", "").Add({.name = "s", .type = '2', .link = "12345"}),
                E2BIG, "entry 's': more than 9 bytes of names", {.name_bytes = 9});

  support::TarMember member{.name = "f"};
  for (int i = 0; i < 257; ++i) {
    member.pax.emplace_back("SCHILY.xattr.user.n" + std::to_string(i), "v");
  }
  ExpectRefused(TarBuilder().Add(member), E2BIG, "more than 256 extended attributes");
  ExpectRefused(TarBuilder().Add({.name = "f", .pax = {{"SCHILY.xattr.user.n", "12345678"}}}),
                E2BIG, "more than 13 bytes of extended attributes", {.xattr_bytes = 13});
  Unpacked(TarBuilder().Add({.name = "f", .pax = {{"SCHILY.xattr.user.n", "1234567"}}}),
           {.xattr_bytes = 13});
}

// A path costs what it is long, not its square.
TEST(EntryPathTest, LongPathsAreReadOnce) {
  std::string path;
  for (int i = 0; i < 500'000; ++i) path += "./ab/";
  const UnpackLimits limits{.path_depth = 1'000'000, .path_bytes = 10'000'000};
  const auto start = std::chrono::steady_clock::now();
  const std::string normalised = Must(NormalizeEntryPath(path, limits));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  EXPECT_EQ(normalised.size(), 500'000 * 3 - 1U);
}

TEST_F(UnpackerTest, DeepTreesAreRemovedAgain) {
  std::string path;
  for (int i = 0; i < 900; ++i) path += "d/";
  // Fails after all the directories were made.
  ExpectRefused(TarBuilder().AddDirectory(path).AddFile("../x", ""), EINVAL, "../x");
}

// GNU tar packs, we unpack: both trees must look the same. Formats differ in how they say the same.
class GnuTarTest : public UnpackerTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(GnuTarTest, RoundTrip) {
  const std::string dir = Must(temp_.MakeDir("tree"));
  auto& ops = FileOps::System();
  WriteFile(dir + "/plain", std::string(100000, 'p'));
  support::MustCall(::chmod((dir + "/plain").c_str(), 06711), "chmod");
  support::MustCall(::mkdir((dir + "/dir").c_str(), 01770), "mkdir");
  WriteFile(dir + "/dir/" + std::string(200, 'l'), "long");
  Must(ops.Link(AT_FDCWD, (dir + "/plain").c_str(), AT_FDCWD, (dir + "/dir/hard").c_str()));
  Must(ops.SymLink(std::string(150, 's').c_str(), AT_FDCWD, (dir + "/soft").c_str()));
  Must(ops.MakeNode(AT_FDCWD, (dir + "/fifo").c_str(), S_IFIFO | 0640, 0));
  Must(ops.MakeNode(AT_FDCWD, (dir + "/null").c_str(), S_IFCHR | 0666, makedev(1, 3)));
  support::MustCall(::lchown((dir + "/soft").c_str(), 1234, 70000), "lchown");
  {
    // Data in the middle, holes around it.
    const UniqueFd fd =
        Must(ops.Open(AT_FDCWD, (dir + "/sparse").c_str(), O_WRONLY | O_CREAT, 0644));
    const std::string data = "data";
    Must(WriteAllAt(ops, fd.get(), std::as_bytes(std::span(data)), 3 << 20));
    Must(WriteAllAt(ops, fd.get(), std::as_bytes(std::span(data)), 9 << 20));
    Must(ops.Truncate(fd.get(), 20 << 20));
  }
  const bool pax = std::string_view(GetParam()) == "pax";
  if (pax) {
    Must(support::SetXattr(dir + "/plain", "user.x", "1"));
    Must(support::SetXattr(dir + "/plain", "security.capability", support::EncodeCapability(1)));
    Must(support::SetXattr(dir + "/dir", "system.posix_acl_default",
                           support::EncodeAcl({{1, 7}, {4, 5}, {0x20, 0}})));
  }
  const std::string file = temp_.At("tree.tar");
  const auto packed =
      Must(support::RunProcess({"tar", "--format", GetParam(), "--numeric-owner", "--sparse",
                                "--xattrs", "--xattrs-include=*", "-C", dir, "-cf", file, "."}));
  ASSERT_EQ(packed.exit_code, 0) << packed.err;
  const std::string tar = ReadFile(file);

  support::SnapshotOptions options;
  options.holes = true;
  options.links_within = true;
  support::CompareRules rules;
  rules.holes = true;
  const auto original = Must(support::TreeSnapshot::Take(dir, options));
  for (const std::string& stream : {tar, support::Gzip(tar), support::Zstd(tar)}) {
    Reopen();
    LayerInfo layer = Must(PutLayer(stream));
    EXPECT_EQ(layer.diff_id, Digest::Of(tar));
    auto unpacked = Must(support::TreeSnapshot::Take(layer.path, options));
    std::string difference = support::Diff(original, unpacked, rules);
    if (!pax) {
      // The old format has whole seconds only.
      EXPECT_EQ(Lstat(dir + "/plain").st_mtim.tv_sec, Lstat(layer.path + "/plain").st_mtim.tv_sec);
      EXPECT_EQ(ReadFile(dir + "/sparse"), ReadFile(layer.path + "/sparse"));
      EXPECT_LT(Lstat(layer.path + "/sparse").st_blocks, 1000);
    } else {
      EXPECT_EQ(difference, "");
    }
    EXPECT_EQ(original.nodes().size(), unpacked.nodes().size());
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, GnuTarTest, ::testing::Values("pax", "gnu"),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace strata::layerstore
