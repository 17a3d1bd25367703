// What the upper layer looks like on disk (kernel overlayfs's format), and that what others wrote
// is understood. docs/architecture.md names the format's parts.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/conformance/union_fixture.h"

namespace strata::conformance {
namespace {

using support::GetXattr;
using support::SetXattr;

constexpr char kMetacopy[] = "trusted.overlay.metacopy";
constexpr char kBlocks[] = "trusted.overlay.strata.blocks";

class Format : public UnionTest {
 protected:
  static bool IsWhiteout(const std::string& path) {
    const struct stat st = Lstat(path);
    return S_ISCHR(st.st_mode) && st.st_rdev == 0;
  }
};

TEST_F(Format, DeletedLowerFilesBecomeWhiteouts) {
  WriteFile(Lower(0, "f"), "x");
  MakeDir(Lower(0, "d"));
  WriteFile(Lower(0, "d/f"), "x");
  MakeDir(Lower(0, "e"));
  Mount();
  MustCall(::unlink(At("f").c_str()), "unlink");
  MustCall(::unlink(At("d/f").c_str()), "unlink");
  MustCall(::rmdir(At("e").c_str()), "rmdir");
  WriteFile(At("new"), "x");
  MustCall(::unlink(At("new").c_str()), "unlink");
  EXPECT_EQ(UpperTree(), (std::vector<std::string>{"d", "d/f", "e", "f"}));
  EXPECT_TRUE(IsWhiteout(Upper("f")));
  EXPECT_TRUE(IsWhiteout(Upper("d/f")));
  EXPECT_TRUE(IsWhiteout(Upper("e")));
  MustCall(::rmdir(At("d").c_str()), "rmdir");  // only a whiteout inside
  EXPECT_TRUE(IsWhiteout(Upper("d")));
  EXPECT_TRUE(List(At()).empty());
}

TEST_F(Format, DirectoryOverWhiteoutIsOpaque) {
  MakeDir(Lower(0, "d"));
  WriteFile(Lower(0, "d/old"), "x");
  Mount();
  MustCall(::unlink(At("d/old").c_str()), "unlink");
  MustCall(::rmdir(At("d").c_str()), "rmdir");
  MustCall(::mkdir(At("d").c_str(), 0755), "mkdir");
  EXPECT_TRUE(List(At("d")).empty());
  EXPECT_EQ(Must(GetXattr(Upper("d"), "trusted.overlay.opaque")), "y");
  Unmount();
  Mount();
  EXPECT_TRUE(List(At("d")).empty());
}

// fuse-overlayfs's issue 478: what was deleted below comes back.
TEST_F(Format, RecreatedNestedDirectoriesStayEmpty) {
  MakeDir(Lower(0, "a"));
  MakeDir(Lower(0, "a/b"));
  WriteFile(Lower(0, "a/b/old"), "x");
  Mount();
  MustCall(::unlink(At("a/b/old").c_str()), "unlink");
  MustCall(::rmdir(At("a/b").c_str()), "rmdir");
  MustCall(::rmdir(At("a").c_str()), "rmdir");
  MustCall(::mkdir(At("a").c_str(), 0755), "mkdir");
  MustCall(::mkdir(At("a/b").c_str(), 0755), "mkdir");
  EXPECT_TRUE(List(At("a/b")).empty());
  Unmount();
  Mount();
  EXPECT_TRUE(List(At("a/b")).empty());
}

TEST_F(Format, RenamedDirectoriesCarryARedirect) {
  if (!IsStratafs() && !IsKernel()) GTEST_SKIP() << "EXDEV there";
  MakeDir(Lower(0, "d"));
  MakeDir(Lower(0, "d/sub"));
  WriteFile(Lower(0, "d/f"), "x");
  MakeDir(Lower(0, "other"));
  Mount();
  MustCall(::rename(At("d").c_str(), At("e").c_str()), "rename");
  // The name alone is the other form, for a rename within one directory.
  EXPECT_THAT(Must(GetXattr(Upper("e"), "trusted.overlay.redirect")), ::testing::AnyOf("d", "/d"));
  EXPECT_TRUE(IsWhiteout(Upper("d")));
  EXPECT_EQ(ReadFile(At("e/f")), "x");
  EXPECT_FALSE(Exists(Upper("e/f"))) << "renaming copied the contents";
  MustCall(::rename(At("e").c_str(), At("other/g").c_str()), "rename");
  EXPECT_EQ(Must(GetXattr(Upper("other/g"), "trusted.overlay.redirect")), "/d");
  Unmount();
  Mount();
  EXPECT_EQ(ReadFile(At("other/g/f")), "x");
  EXPECT_EQ(List(At()), std::vector<std::string>{"other"});
}

TEST_F(Format, WhiteoutFilesOfImageLayersAreRead) {
  if (IsKernel()) GTEST_SKIP() << "not understood there";
  WriteFile(Lower(0, "gone"), "x");
  MakeDir(Lower(0, "d"));
  WriteFile(Lower(0, "d/hidden"), "x");
  WriteFile(Lower(1, ".wh.gone"), "");
  MakeDir(Lower(1, "d"));
  WriteFile(Lower(1, "d/.wh..wh..opq"), "");
  WriteFile(Lower(1, "d/kept"), "x");
  Mount();
  EXPECT_EQ(List(At()), std::vector<std::string>{"d"});
  EXPECT_EQ(List(At("d")), std::vector<std::string>{"kept"});
  EXPECT_FALSE(Exists(At("gone")));
  WriteFile(At("gone"), "new");
  EXPECT_EQ(ReadFile(At("gone")), "new");
}

TEST_F(Format, WhatKernelOverlayfsWroteIsUnderstood) {
  MakeDir(Lower(0, "d"));
  WriteFile(Lower(0, "d/f"), "x");
  WriteFile(Lower(0, "gone"), "x");
  WriteFile(Lower(0, "changed"), "old");
  {
    auto kernel = Must(support::UnionMount::Start(support::Mounter::kOverlay, Spec()));
    MustCall(::rename(At("d").c_str(), At("e").c_str()), "rename");
    MustCall(::unlink(At("gone").c_str()), "unlink");
    AppendFile(At("changed"), "+new");
    MustCall(::mkdir(At("gone").c_str(), 0755), "mkdir");
    Must(kernel.Stop());
  }
  Mount();
  EXPECT_EQ(List(At()), (std::vector<std::string>{"changed", "e", "gone"}));
  EXPECT_EQ(ReadFile(At("e/f")), "x");
  EXPECT_EQ(ReadFile(At("changed")), "old+new");
  EXPECT_TRUE(List(At("gone")).empty());
}

TEST_F(Format, InodeNumbersOutliveCopyUpRenameAndRemount) {
  if (!IsStratafs() && !IsKernel()) GTEST_SKIP() << "not promised there";
  WriteFile(Lower(0, "f"), "x");
  MakeDir(Lower(0, "d"));
  Mount();
  const ino_t file = Lstat(At("f")).st_ino;
  const ino_t dir = Lstat(At("d")).st_ino;
  const dev_t device = Lstat(At("f")).st_dev;
  AppendFile(At("f"), "y");
  EXPECT_EQ(Lstat(At("f")).st_ino, file);
  EXPECT_EQ(Lstat(At("f")).st_dev, device);
  MustCall(::rename(At("f").c_str(), At("g").c_str()), "rename");
  MustCall(::rename(At("d").c_str(), At("h").c_str()), "rename");
  EXPECT_EQ(Lstat(At("g")).st_ino, file);
  EXPECT_EQ(Lstat(At("h")).st_ino, dir);
  Unmount();
  Mount();
  EXPECT_EQ(Lstat(At("g")).st_ino, file);
  EXPECT_EQ(Lstat(At("h")).st_ino, dir);
}

// To take a damaged mark for "all data is below" would show what was there before the change.
TEST_F(Format, AHalfCopiedFileWithADamagedMarkIsListedAndRefused) {
  if (IsKernel()) GTEST_SKIP() << "stratafs's own form";
  WriteFile(Lower(0, "f"), std::string(std::size_t{2} << 20, 'x'));
  Mount({.options = {"copyup_threshold=1M"}});
  {
    const UniqueFd file = OpenFile(At("f"), O_WRONLY);
    ASSERT_EQ(::pwrite(file.get(), "new", 3, 5000), 3);
  }
  Unmount();
  const std::string mark = Must(GetXattr(Upper("f"), kMetacopy));
  ASSERT_EQ(mark, "S") << "the upper filesystem shares blocks";
  const std::string map = Must(GetXattr(Upper("f"), kBlocks));
  const std::string old = std::string("\x53\x14\0\0", 4) + map;
  for (const std::string& damaged : {std::string("garbage"), std::string("T"), mark + "x",
                                     old.substr(0, 18), "\x54" + old.substr(1)}) {
    Must(SetXattr(Upper("f"), kMetacopy, damaged));
    Mount();
    EXPECT_EQ(List(At()), std::vector<std::string>{"f"});
    EXPECT_EQ(ErrnoOf(::open(At("f").c_str(), O_RDONLY)), EIO);
    Unmount();
  }
  Must(SetXattr(Upper("f"), kMetacopy, mark));
  for (const std::string& damaged : {std::string(), map.substr(1), map.substr(1) + "x"}) {
    Must(SetXattr(Upper("f"), kBlocks, damaged));
    Mount();
    {
      const UniqueFd file = OpenFile(At("f"), O_RDONLY);
      char byte = 0;
      EXPECT_EQ(ErrnoOf(static_cast<int>(::pread(file.get(), &byte, 1, 0))), EIO);
    }
    Unmount();
  }
  Must(SetXattr(Upper("f"), kBlocks, map));
  Mount();
  EXPECT_EQ(ReadFile(At("f")).substr(5000, 4), "newx");
  Unmount();

  // Version 1 had both in one.
  Must(SetXattr(Upper("f"), kMetacopy, old));
  MustCall(::removexattr(Upper("f").c_str(), kBlocks), "removexattr");
  Mount();
  EXPECT_EQ(ReadFile(At("f")).substr(5000, 4), "newx");
}

}  // namespace
}  // namespace strata::conformance
