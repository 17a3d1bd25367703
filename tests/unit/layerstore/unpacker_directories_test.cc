// What directories get when nothing more is made in them, and what must not come down from them.
#include <gtest/gtest.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "layerstore/archive/pending_directories.h"
#include "layerstore/archive/unpacker.h"
#include "tests/support/process.h"
#include "tests/support/tree_snapshot.h"
#include "tests/support/xattrs.h"
#include "tests/unit/layerstore/unpacker_fixture.h"

namespace strata::layerstore {
namespace {

using support::Must;
using support::TarBuilder;

constexpr const char* kDefaultAcl = "system.posix_acl_default";
constexpr const char* kAccessAcl = "system.posix_acl_access";
constexpr const char* kImplied = "trusted.overlay.strata.implied";
constexpr const char* kTarAcl = "user::rwx,user:1000:rwx,group::r-x,mask::rwx,other::r-x";

std::string Acl() {
  return support::EncodeAcl({{1, 7}, {2, 7, 1000}, {4, 5}, {0x10, 7}, {0x20, 5}});
}

class UnpackerDirectoriesTest : public UnpackerTest {
 protected:
  // Everything that is made in a directory.
  static TarBuilder& FillDirectory(TarBuilder& tar, const std::string& dir) {
    tar.AddFile(dir + "/file", "x").AddDirectory(dir + "/sub", 0700);
    tar.AddFile(dir + "/sub/file", "y").AddFile(dir + "/implied/deep/file", "z");
    tar.Add({.name = dir + "/link", .type = '2', .link = "file"});
    tar.Add({.name = dir + "/fifo", .type = '6', .mode = 0600});
    return tar.Add({.name = dir + "/hard", .type = '1', .link = dir + "/file"});
  }

  static support::TreeSnapshot Snapshot(const std::string& path) {
    return Must(support::TreeSnapshot::Take(path, {.links_within = true}));
  }
};

TEST_F(UnpackerDirectoriesTest, ADirectoryInTheFormerPlaceOfSomethingElseHidesLowerOnes) {
  TarBuilder tar;
  tar.AddFile("file", "f").AddDirectory("file");
  tar.Add({.name = "link", .type = '1', .link = "target"}).AddDirectory("link");
  tar.AddFile("target", "t");
  tar.AddDirectory("twice").AddDirectory("twice");
  const std::string fs = Unpacked(tar);
  for (const char* path : {"/file", "/link"}) {
    EXPECT_EQ(Must(support::GetXattr(fs + path, "trusted.overlay.opaque")), "y") << path;
  }
  EXPECT_FALSE(support::GetXattr(fs + "/twice", "trusted.overlay.opaque").has_value());
}

TEST_F(UnpackerDirectoriesTest, DefaultAclsAreNotInherited) {
  TarBuilder tar;
  tar.Add({.name = "./", .type = '5', .mtime = 3});
  tar.Add({.name = "d/", .type = '5', .mtime = 4, .pax = {{"SCHILY.acl.default", kTarAcl}}});
  FillDirectory(tar, "d");
  tar.AddFile("d/.wh.hidden", "");
  struct timespec begin = {};
  support::MustCall(::clock_gettime(CLOCK_REALTIME_COARSE, &begin), "clock_gettime");
  const std::string fs = Unpacked(tar);
  const auto tree = Snapshot(fs);
  for (const auto& [path, node] : tree.nodes()) {
    EXPECT_EQ(node.xattrs.contains(kDefaultAcl), path == "d") << path;
    EXPECT_FALSE(node.xattrs.contains(kAccessAcl)) << path;
  }
  EXPECT_EQ(tree.nodes().at("d").xattrs.at(kDefaultAcl), Acl());
  EXPECT_EQ(Lstat(fs + "/d").st_mtim.tv_sec, 4);

  // GNU tar unpacks the same (a whiteout is a file to it).
  const std::string other = Must(temp_.MakeDir("gnu"));
  const std::string file = temp_.At("layer.tar");
  WriteFile(file, tar.Finish());
  Must(support::RunTool(
      {"tar", "--acls", "--numeric-owner", "-p", "-C", other, "--exclude=.wh.*", "-xf", file}));
  support::MustCall(::unlink((fs + "/d/hidden").c_str()), "unlink");
  for (const char* path : {"/d/implied", "/d/implied/deep"}) {
    support::MustCall(::removexattr((fs + path).c_str(), kImplied), "removexattr");
  }
  const struct timespec times[2] = {{4, 0}, {4, 0}};
  Must(FileOps::System().UtimesAt(AT_FDCWD, (fs + "/d").c_str(), times, 0));
  support::CompareRules rules;
  rules.clock_since = begin;
  EXPECT_EQ(support::Diff(Snapshot(other), Snapshot(fs), rules), "");
}

// The store may lie below directories with a default ACL; images have nothing to do with it.
TEST_F(UnpackerDirectoriesTest, NothingIsInheritedFromTheHost) {
  for (const std::string& name : Names(root_ + "/tmp")) {
    Must(support::SetXattr(root_ + "/tmp/" + name, kDefaultAcl, Acl()));
  }
  TarBuilder tar;
  const std::string fs = Unpacked(FillDirectory(tar, "d"));
  const auto tree = Snapshot(fs);
  for (const auto& [path, node] : tree.nodes()) {
    for (const auto& [name, value] : node.xattrs) {
      EXPECT_EQ(name, kImplied) << path;
      EXPECT_TRUE(path.empty() || path == "d" || path.starts_with("d/implied")) << path;
    }
  }
  EXPECT_EQ(Lstat(fs).st_mode & 07777U, 0755U);
}

TEST_F(UnpackerDirectoriesTest, SetGroupIdIsNotInherited) {
  TarBuilder tar;
  tar.Add({.name = "d/", .type = '5', .mode = 02775, .gid = 50});
  const std::string fs = Unpacked(FillDirectory(tar, "d"));
  const auto tree = Snapshot(fs);
  for (const auto& [path, node] : tree.nodes()) {
    EXPECT_EQ(node.stat.st_gid, path == "d" ? 50U : 0U) << path;
    EXPECT_EQ((node.stat.st_mode & S_ISGID) != 0, path == "d") << path;
  }
  EXPECT_EQ(Lstat(fs + "/d/implied").st_mode & 07777U, 0755U);
}

// An archive that comes back to its directories again and again.
TarBuilder RestlessLayer() {
  TarBuilder tar;
  constexpr unsigned kDirectories = 20;
  const auto name = [](unsigned i) {
    std::string path = "d" + std::to_string(i);
    if (i >= 10) path = "d" + std::to_string(i - 10) + "/sub";
    return path;
  };
  for (unsigned i = 0; i < kDirectories; ++i) {
    support::TarMember member{.name = name(i) + '/', .type = '5', .mode = 0750, .mtime = 100 + i};
    member.pax = {{"atime", std::to_string(500 + i) + ".25"}};
    if (i % 2 == 0) member.pax.emplace_back("SCHILY.acl.default", kTarAcl);
    if (i % 3 == 0) member.pax.emplace_back("SCHILY.acl.access", kTarAcl);
    tar.Add(member);
  }
  for (int round = 0; round < 3; ++round) {
    for (unsigned i = 0; i < kDirectories; ++i) {
      const std::string file = name(i) + "/f" + std::to_string(round);
      tar.AddFile(file, file).AddFile(name(i) + "/.wh.hidden" + std::to_string(round), "");
      tar.Add({.name = file + "-link", .type = '1', .link = name(i) + "/f0"});
      tar.Add({.name = file + "-late", .type = '1', .link = name(i) + "/last"});
      tar.AddFile(name(i) + "/implied/more/" + std::to_string(round), "");
    }
  }
  for (unsigned i = 0; i < kDirectories; ++i) tar.AddFile(name(i) + "/last", "");
  // Entries of one directory merge; and it may be replaced after it was left.
  tar.Add({.name = "d6/", .type = '5', .mode = 0711, .mtime = 42});
  tar.AddFile("d6/more", "");
  tar.AddFile("d4", "a file").AddDirectory("d4", 0700).AddFile("d4/new", "");
  tar.Add({.name = "./", .type = '5', .mtime = 9, .pax = {{"SCHILY.acl.default", kTarAcl}}});
  tar.AddFile("d1/very", "last").AddFile("at-root", "");
  return tar.Add({.name = "./", .type = '5', .mtime = 10});
}

TEST_F(UnpackerDirectoriesTest, FinishingEarlyChangesNothing) {
  struct timespec begin = {};
  support::MustCall(::clock_gettime(CLOCK_REALTIME_COARSE, &begin), "clock_gettime");
  const TarBuilder tar = RestlessLayer();
  const std::string fs = Unpacked(tar);
  EXPECT_EQ(Lstat(fs).st_mtim.tv_sec, 10);
  EXPECT_EQ(Lstat(fs + "/d2").st_atim.tv_sec, 502);
  EXPECT_EQ(Lstat(fs + "/d2").st_atim.tv_nsec, 250'000'000);
  const auto whole = Snapshot(fs);
  for (unsigned i = 0; i < 10; ++i) {
    if (i == 4 || i == 6) continue;
    EXPECT_EQ(Lstat(fs + "/d" + std::to_string(i)).st_mtim.tv_sec, 100 + i);
    EXPECT_EQ(Lstat(fs + "/d" + std::to_string(i) + "/sub").st_mtim.tv_sec, 110 + i);
  }
  EXPECT_EQ(whole.nodes().at("").xattrs.at(kDefaultAcl), Acl());
  EXPECT_EQ(whole.nodes().at("d2").xattrs.at(kDefaultAcl), Acl());

  support::CompareRules rules;
  rules.clock_since = begin;
  for (const std::size_t pending : {0U, 1U, 2U, 7U}) {
    root_ = temp_.At("store-" + std::to_string(pending));
    Reopen();
    const std::string other = Unpacked(tar, {.pending_directories = pending});
    EXPECT_EQ(Lstat(other + "/d2").st_atim.tv_nsec, 250'000'000) << pending;
    EXPECT_EQ(support::Diff(whole, Snapshot(other), rules), "") << pending;
  }
}

TEST(PendingDirectoriesTest, KeepsWhatWasUsedLast) {
  PendingDirectories pending(3, 1000);
  for (const char* path : {"a", "a/b", "a-", "a/b/c"}) pending.Put(path, {});
  EXPECT_NE(pending.Use("a"), nullptr);
  const auto excess = pending.TakeExcess();
  ASSERT_TRUE(excess.has_value());
  EXPECT_EQ(excess->path, "a/b");
  EXPECT_FALSE(pending.TakeExcess().has_value());
  pending.Forget("a");
  EXPECT_EQ(pending.Use("a/b/c"), nullptr);
  EXPECT_NE(pending.Use("a-"), nullptr);
  EXPECT_EQ(pending.size(), 1U);

  for (int i = 0; i < 3; ++i) pending.Put(std::to_string(i) + std::string(499, 'p'), {});
  EXPECT_EQ(pending.TakeExcess()->path, "a-");
  EXPECT_EQ(pending.TakeExcess()->path.front(), '0');
  EXPECT_FALSE(pending.TakeExcess().has_value());
  pending.Put("x", {{}, std::string(2000, 'a')});
  EXPECT_EQ(pending.TakeExcess()->path.front(), '1');
  EXPECT_EQ(pending.TakeExcess()->path.front(), '2');
  EXPECT_EQ(pending.TakeExcess()->path, "x");
  EXPECT_FALSE(pending.TakeExcess().has_value());
}

class PlainUserTest : public ::testing::Test {
 protected:
  static constexpr uid_t kUser = 12345;

  PlainUserTest() : temp_(Must(support::TempRoot::Create())), dir_(Must(temp_.MakeDir("layer"))) {
    support::MustCall(::chown(dir_.c_str(), kUser, kUser), "chown");
  }

  // In a process of that user. Its errors are on this program's standard error.
  int Unpack(const TarBuilder& tar, const UnpackLimits& limits) {
    auto child = Must(support::ChildProcess::Fork([&] {
      support::MustCall(::setresgid(kUser, kUser, kUser), "setresgid");
      support::MustCall(::setresuid(kUser, kUser, kUser), "setresuid");
      auto& ops = FileOps::System();
      const UniqueFd root = Must(ops.Open(AT_FDCWD, dir_.c_str(), O_RDONLY | O_DIRECTORY));
      const std::string stream = tar.Finish();
      bool read = false;
      TarReader reader([&]() -> Result<std::string_view> {
        return std::exchange(read, true) ? std::string_view() : std::string_view(stream);
      });
      const auto done = Unpacker(ops, root.get(), limits).Run(reader);
      if (done) return 0;
      std::fputs((done.error().ToString() + '\n').c_str(), stderr);
      return done.error().code();
    }));
    return Must(child.Wait(std::chrono::seconds(60)));
  }

  mode_t Mode(const std::string& path) {
    return Must(FileOps::System().StatAt(AT_FDCWD, (dir_ + path).c_str())).st_mode & 07777U;
  }

  support::TempRoot temp_;
  std::string dir_;
};

TEST_F(PlainUserTest, DirectoriesCloseAtTheEnd) {
  TarBuilder tar;
  tar.Add({.name = "./", .type = '5', .mode = 0555, .mtime = 5});
  tar.AddDirectory("none", 0).AddDirectory("none/read", 0444).AddDirectory("none/open", 0755);
  tar.Add(
      {.name = "acl/",
       .type = '5',
       .mode = 0570,
       .pax = {{"SCHILY.acl.access", "user::r-x,user:1000:rwx,group::r-x,mask::rwx,other::---"}}});
  tar.AddDirectory("other", 0755).AddFile("other/f", "");
  tar.AddFile("none/f", "f").AddFile("none/read/f", "f").AddFile("acl/f", "f");
  tar.Add({.name = "other/hard", .type = '1', .link = "none/read/f"});
  tar.AddFile("none/.wh.x", "").AddFile("none/read/.wh..wh..opq", "");
  tar.AddDirectory("replaced/by", 0).AddFile("replaced/by/f", "").AddFile("replaced", "f");
  tar.AddDirectory("reopened", 0).AddDirectory("reopened", 0755);
  for (const std::size_t pending : {1U, 4096U}) {
    SCOPED_TRACE(pending);
    EXPECT_EQ(Unpack(tar, {.pending_directories = pending}), 0);
    EXPECT_EQ(Mode(""), 0555U);
    EXPECT_EQ(Mode("/none"), 0U);
    EXPECT_EQ(Mode("/none/read"), 0444U);
    EXPECT_EQ(Mode("/none/open"), 0755U);
    EXPECT_EQ(Mode("/acl"), 0570U);
    EXPECT_EQ(Mode("/acl/f"), 0644U);
    EXPECT_EQ(Mode("/reopened"), 0755U);
    EXPECT_EQ(Must(FileOps::System().StatAt(AT_FDCWD, dir_.c_str())).st_mtim.tv_sec, 5);
    Must(support::RemoveTree(dir_));
    dir_ = Must(temp_.MakeDir("again"));
    support::MustCall(::chown(dir_.c_str(), kUser, kUser), "chown");
  }
}

TEST_F(PlainUserTest, MemoryIsBounded) {
  TarBuilder tar;
  for (int i = 0; i < 20; ++i) tar.AddDirectory("d" + std::to_string(i), 0);
  EXPECT_EQ(Unpack(tar, {.kept_bytes = 1000}), E2BIG);
}

}  // namespace
}  // namespace strata::layerstore
